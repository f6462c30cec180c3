"""The immutable, versioned state that decisions are made from.

A snapshot is a manifest of parts, each hashed by itself, so that a client fetches only the parts it lacks. Order is
``(epoch, revision)``; a snapshot is never applied backwards.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Self

from mcp_sdk.exceptions import ProtocolError
from mcp_sdk.models import BusinessModel

__all__ = ["FORMAT", "Override", "Part", "PolicyRevision", "Snapshot", "canonical"]

FORMAT = 1


def canonical(plain: Any) -> bytes:
    """Give JSON with sorted keys and no spaces, as UTF-8: what hashes and signatures are taken over (cf. RFC 8785)."""
    return json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


@dataclass(frozen=True)
class Part:
    """One separately hashed part of a snapshot: ``models``, ``policies`` or ``services``, as plain JSON."""

    name: str
    content: Any
    digest: str = ""

    def __post_init__(self) -> None:
        if not self.digest:
            object.__setattr__(self, "digest", hashlib.sha256(canonical(self.content)).hexdigest())


@dataclass(frozen=True, slots=True)
class Override:
    """A mode that a service is put into ``until`` a moment, whatever its own settings say."""

    mode: str
    until: datetime
    reason: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Give the override as plain JSON."""
        return {"mode": self.mode, "until": self.until.isoformat(), "reason": self.reason}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Self:
        """Read what ``to_dict`` wrote; raises ``ProtocolError``."""
        try:
            until = datetime.fromisoformat(plain["until"]).astimezone(UTC)
            return cls(str(plain["mode"]), until, str(plain.get("reason", "")))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ProtocolError(f"not an override: {error}") from error


@dataclass(frozen=True)
class PolicyRevision:
    """One revision of a scope's whole policy set, as it is stored.

    ``programs`` is what ``mcp_sdk.policy`` compiled (plain JSON, read by a runtime with no native dependency);
    ``sources`` maps each file's name to its text, for people. ``revision`` counts from 1 without gaps. ``models`` are
    declared when it is put in force, before it is; they are not stored with it.
    """

    revision: int
    programs: Mapping[str, Any]
    sources: Mapping[str, str] = field(default_factory=dict)
    author: str = ""
    created_at: str = ""
    models: tuple[BusinessModel, ...] = ()


@dataclass(frozen=True)
class Snapshot:
    """Models and policies of one scope at one revision. Endpoints travel outside it."""

    epoch: int = 1
    revision: int = 0
    models: Mapping[str, BusinessModel] = field(default_factory=dict)
    programs: Mapping[str, Any] = field(default_factory=dict)

    @property
    def order(self) -> tuple[int, int]:
        """What snapshots are ordered by."""
        return (self.epoch, self.revision)

    def operations(self, namespace: str, service: str) -> tuple[str, ...]:
        """Give the patterns of operations that the policies of a service name."""
        policies = [each for each in self.programs.get("policies", ()) if each["service"] == service]
        return tuple(text for each in policies if each["namespace"] == namespace for text in each["operations"])

    def parts(self) -> tuple[Part, ...]:
        """Give the parts, each with its SHA-256."""
        models = {name: model.to_dict() for name, model in self.models.items()}
        return (Part("models", models), Part("policies", dict(self.programs)))

    def manifest(self) -> dict[str, Any]:
        """Give the manifest: order, format and the digest of each part."""
        digests = {part.name: part.digest for part in self.parts()}
        return {"format": FORMAT, "epoch": self.epoch, "revision": self.revision, "parts": digests}
