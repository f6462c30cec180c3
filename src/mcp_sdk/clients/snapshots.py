"""Which snapshots a client believes: signed by a key it trusts, of its own scope, never older than what it has."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mcp_sdk.context import Scope
from mcp_sdk.exceptions import ConfigurationError, ProtocolError
from mcp_sdk.models import BusinessModel
from mcp_sdk.protocol.manifests import Envelope, Manifest, Verifier, digest, fingerprint
from mcp_sdk.protocol.plain import loads
from mcp_sdk.snapshot import Snapshot

__all__ = ["Trust", "candidate_of", "check_part", "snapshot_of"]


class Trust:
    """The keys that are believed: those that are named, else the first one that is met (``learn``), from then on."""

    def __init__(self, named: Sequence[str]) -> None:
        self._keys = [_public(text) for text in named]
        self._verifier = self._made() if self._keys else None

    @property
    def settled(self) -> bool:
        """Whether it is known who is believed."""
        return self._verifier is not None

    @property
    def key(self) -> bytes:
        """The first believed public key; raises ``ProtocolError`` where none is."""
        if not self._keys:
            raise ProtocolError("no key is trusted yet")
        return self._keys[0]

    def learn(self, public: bytes) -> None:
        """Believe a key from now on, where none was named or met before."""
        if self._verifier is None:
            self._keys = [public]
            self._verifier = self._made()

    def manifest(self, envelope: Envelope, scope: Scope, mesh: str) -> Manifest:
        """Give a manifest that is to be believed; raises ``ProtocolError`` for any other."""
        if self._verifier is None:
            raise ProtocolError("no key is trusted yet")
        manifest = Manifest.from_dict(self._verifier.open(envelope))
        if (manifest.scope, manifest.mesh) != (scope, mesh):
            raise ProtocolError(f"the manifest is of {manifest.mesh} {manifest.scope}, not of {mesh} {scope}")
        return manifest

    def _made(self) -> Verifier:
        return Verifier({fingerprint(key): key for key in self._keys})


def check_part(name: str, content: bytes, manifest: Manifest) -> bytes:
    """Give a part back if it is what the manifest says; raises ``ProtocolError``."""
    expected = manifest.parts.get(name)
    if expected is None or digest(content) != expected.digest:
        raise ProtocolError(f"the part {name!r} is not the one that the manifest names")
    return content


def snapshot_of(
    manifest: Manifest, parts: Mapping[str, bytes], models: Mapping[str, BusinessModel] | None = None
) -> Snapshot:
    """Give the snapshot that a manifest and its parts make; raises ``ProtocolError`` and ``ModelError``.

    ``models`` are those that were read of the part of the models before, where it has not changed since.
    """
    read: Callable[[str], Any] = lambda name: loads(check_part(name, parts[name], manifest))  # noqa: E731
    try:
        if models is None:
            models = {str(name): BusinessModel.from_dict(plain) for name, plain in read("models").items()}
        return Snapshot(manifest.epoch, manifest.revision, models, read("policies"))
    except (KeyError, AttributeError) as error:
        raise ProtocolError(f"the snapshot lacks {error}") from error


def candidate_of(manifest: Manifest, parts: Mapping[str, bytes]) -> Mapping[str, Any]:
    """Give the programs of the candidate that a manifest names; raises ``ProtocolError``."""
    content = parts.get("candidate")
    plain = None if content is None else loads(check_part("candidate", content, manifest))
    if not isinstance(plain, dict):
        raise ProtocolError("the snapshot lacks the candidate that its manifest names")
    return plain


def _public(text: str) -> bytes:
    try:
        key = bytes.fromhex(text.strip())
    except ValueError:
        key = b""
    if len(key) != 32:
        raise ConfigurationError(f"a trusted key is 64 hex digits, as mcpctl serve prints it, not {len(text)} signs")
    return key
