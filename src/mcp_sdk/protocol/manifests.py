"""Signed manifests: what a server says is in force, and how a client knows that it was the server who said so.

A manifest names the scope, the order ``(epoch, revision)``, and the SHA-256 of each part; the parts are fetched by
their digest. The signature is Ed25519 (RFC 8032) over the exact bytes of the text, so that nobody has to agree on a
canonical form to check it.

    {"format": 1, "mesh", "namespace", "environment", "epoch", "revision", "issued_at": ISO 8601,
     "parts": {"models": {"digest", "size"}, "policies": {…}},
     "overrides": {service: {"mode", "until": ISO 8601, "reason"}},
     "candidate": null or {"id", "stage", "share", "revision"}}

``candidate`` is there while a policy change is rolled out; its policies are the part ``candidate``.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from mcp_sdk.context import Scope
from mcp_sdk.exceptions import MissingExtra, ProtocolError
from mcp_sdk.rollout import Candidate
from mcp_sdk.snapshot import Override, canonical

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

__all__ = ["FORMAT", "Envelope", "Manifest", "PartRef", "Signer", "Verifier", "digest", "fingerprint"]

FORMAT = 1


def digest(content: bytes) -> str:
    """Give the name of a part: the SHA-256 of its bytes, in hex."""
    return hashlib.sha256(content).hexdigest()


@dataclass(frozen=True, slots=True)
class PartRef:
    """A part by its digest; ``size`` is in bytes."""

    digest: str
    size: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """What is in force in one scope."""

    scope: Scope
    epoch: int
    revision: int
    parts: Mapping[str, PartRef]
    issued_at: str = ""
    mesh: str = "default"
    overrides: Mapping[str, Override] = field(default_factory=dict)
    candidate: Candidate | None = None

    @property
    def order(self) -> tuple[int, int]:
        """What manifests are ordered by."""
        return (self.epoch, self.revision)

    def to_dict(self) -> dict[str, Any]:
        """Give the manifest as plain JSON."""
        return {
            "format": FORMAT,
            "mesh": self.mesh,
            "namespace": self.scope.namespace,
            "environment": self.scope.environment,
            "epoch": self.epoch,
            "revision": self.revision,
            "issued_at": self.issued_at,
            "parts": {name: {"digest": part.digest, "size": part.size} for name, part in self.parts.items()},
            "overrides": {service: override.to_dict() for service, override in self.overrides.items()},
            "candidate": None if self.candidate is None else self.candidate.to_dict(),
        }

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Self:
        """Read what ``to_dict`` wrote; raises ``ProtocolError`` for another format and for what does not fit."""
        if plain.get("format") != FORMAT:
            raise ProtocolError(
                f"the manifest is of format {plain.get('format')!r}; this version of mcp-sdk reads {FORMAT}"
            )
        try:
            return cls(
                scope=Scope(plain["namespace"], plain["environment"]),
                epoch=int(plain["epoch"]),
                revision=int(plain["revision"]),
                parts={name: PartRef(str(part["digest"]), int(part["size"])) for name, part in plain["parts"].items()},
                issued_at=plain["issued_at"],
                mesh=plain["mesh"],
                overrides={name: Override.from_dict(each) for name, each in plain.get("overrides", {}).items()},
                candidate=None if plain.get("candidate") is None else Candidate.from_dict(plain["candidate"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ProtocolError(f"not a manifest: {error!r}") from error


@dataclass(frozen=True, slots=True)
class Envelope:
    """A signed text: ``key`` is the fingerprint of the key that signed it, ``signature`` is 64 bytes."""

    text: str
    key: str
    signature: bytes

    def to_dict(self) -> dict[str, Any]:
        """Give the envelope as plain JSON."""
        return {"text": self.text, "key": self.key, "signature": base64.b64encode(self.signature).decode()}

    @classmethod
    def from_dict(cls, plain: Any) -> Self:
        """Read what ``to_dict`` wrote; raises ``ProtocolError``."""
        try:
            signature = base64.b64decode(plain["signature"], validate=True)
            return cls(str(plain["text"]), str(plain["key"]), signature)
        except (KeyError, TypeError, ValueError, binascii.Error) as error:
            raise ProtocolError(f"not a signed text: {error!r}") from error


class Signer:
    """Signs with one Ed25519 key; ``seed`` is its 32 secret bytes, a new key unless given.

    Raises ``MissingExtra`` where cryptography is not installed.
    """

    def __init__(self, seed: bytes | None = None) -> None:
        ed25519 = _ed25519()
        private: Ed25519PrivateKey = (
            ed25519.Ed25519PrivateKey.generate() if seed is None else ed25519.Ed25519PrivateKey.from_private_bytes(seed)
        )
        self._private = private
        self.public: bytes = private.public_key().public_bytes_raw()
        self.key: str = fingerprint(self.public)

    @property
    def seed(self) -> bytes:
        """The secret 32 bytes."""
        return self._private.private_bytes_raw()

    def sign(self, plain: Mapping[str, Any]) -> Envelope:
        """Give a signed text of plain JSON."""
        text = canonical(plain)
        return Envelope(text.decode(), self.key, self._private.sign(text))


class Verifier:
    """Believes the holders of some Ed25519 keys: ``keys`` are their public 32 bytes.

    Raises ``ConfigurationError`` for what is no key, ``MissingExtra`` where cryptography is not installed.
    """

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        ed25519 = _ed25519()
        self._keys = {name: ed25519.Ed25519PublicKey.from_public_bytes(public) for name, public in keys.items()}

    def open(self, envelope: Envelope) -> Any:
        """Give what a signed text says, as plain JSON; raises ``ProtocolError`` where it is not to be believed."""
        from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - an extra

        key = self._keys.get(envelope.key)
        if key is None:
            known = ", ".join(self._keys) or "none"
            raise ProtocolError(
                f"signed with the key {envelope.key!r}, which is not trusted here (trusted: {known}). If the server "
                "changed its key on purpose, say the new one in MCP_SDK_TRUSTED_KEYS, or remove the old last-good file"
            )
        try:
            key.verify(envelope.signature, envelope.text.encode())
        except InvalidSignature:
            raise ProtocolError(f"the signature by key {envelope.key!r} does not fit the text") from None
        return json.loads(envelope.text)


def fingerprint(public: bytes) -> str:
    """Give the short name of a public key: the first 16 hex digits of its SHA-256."""
    return hashlib.sha256(public).hexdigest()[:16]


def _ed25519() -> Any:
    try:
        from cryptography.hazmat.primitives.asymmetric import ed25519  # noqa: PLC0415 - an extra
    except ModuleNotFoundError as error:
        raise MissingExtra("cryptography", extra="client", purpose="a control plane over HTTP") from error
    return ed25519
