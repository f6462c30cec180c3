"""Putting in force what a control plane sends, if it is to be believed, and keeping it for a start without it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

from mcp_sdk.clients.lastgood import LastGood
from mcp_sdk.clients.snapshots import Trust, candidate_of, check_part, snapshot_of
from mcp_sdk.control.loop import logger
from mcp_sdk.control.plane import Shared
from mcp_sdk.control.trial import Trial
from mcp_sdk.exceptions import MeshError, ProtocolError
from mcp_sdk.models import BusinessModel
from mcp_sdk.protocol.manifests import Envelope, Manifest, digest

__all__ = ["Fetch", "Installer"]

Fetch = Callable[[str], Awaitable[bytes]]
"""Gives the part of a digest."""
LARGE = 131_072
"""Bytes of parts that are read on a thread, for they would hold the loop up; smaller ones are read in less time."""


class Installer:
    """Checks manifests and parts against ``trust``, and puts them in force in ``shared``; ``disk`` keeps the last."""

    def __init__(self, shared: Shared, trust: Trust, disk: LastGood) -> None:
        self._shared, self._trust, self._disk = shared, trust, disk
        self._parts: dict[str, bytes] = {}
        self._models: tuple[bytes | None, Mapping[str, BusinessModel]] = (None, {})

    def recall(self) -> bool:
        """Begin with the last good snapshot of the disk; tell whether there is one that is to be believed."""
        try:
            found = self._disk.read()
            if found is None:
                return False
            key, envelope, parts = found
            self._trust.learn(key)
            # a candidate may have been stopped since: nobody is here to say so
            self._install(replace(self._opened(envelope), candidate=None), parts)
        except MeshError as error:
            logger.warning("the last good snapshot is not used: %s", error)
            return False
        return True

    def meet(self, key: str) -> None:
        """Believe a public key, in hex, where none was named or met before."""
        if not self._trust.settled:
            self._trust.learn(bytes.fromhex(key))
            logger.info("trusting the control plane's key from its first answer; pin it with MCP_SDK_TRUSTED_KEYS")

    async def take(self, envelope: Envelope, sent: Mapping[str, Any], fetch: Fetch) -> Mapping[str, bytes]:
        """Put what a manifest names in force, and give its parts; raises ``MeshError``, and then nothing is changed.

        ``sent`` are the parts that came along; the others are held already, or fetched.
        """
        manifest = self._opened(envelope)
        parts = {name: await self._part(name, manifest, sent.get(name), fetch) for name in manifest.parts}
        if sum(map(len, parts.values())) > LARGE:
            await asyncio.to_thread(self._install, manifest, parts)
        else:
            self._install(manifest, parts)
        return parts

    async def keep(self, envelope: Envelope, parts: Mapping[str, bytes]) -> None:
        """Keep what is in force on the disk, if there is a place for it."""
        if self._disk.path is None:
            return
        try:
            await asyncio.to_thread(self._disk.write, self._trust.key, envelope, parts)
        except OSError as error:
            logger.warning("the last good snapshot cannot be kept: %s", error)

    def obey(self, envelope: Envelope) -> None:
        """Take from a manifest what a thin client goes by: no policies, but what its operator put it into."""
        self._shared.override = self._opened(envelope).overrides.get(self._shared.identity.service)

    def _opened(self, envelope: Envelope) -> Manifest:
        return self._trust.manifest(envelope, self._shared.identity.scope, self._shared.identity.mesh)

    async def _part(self, name: str, manifest: Manifest, sent: Any, fetch: Fetch) -> bytes:
        held = self._parts.get(name)
        if held is not None and digest(held) == manifest.parts[name].digest:
            return held
        if isinstance(sent, str):
            return check_part(name, sent.encode(), manifest)
        return check_part(name, await fetch(manifest.parts[name].digest), manifest)

    def _install(self, manifest: Manifest, parts: Mapping[str, bytes]) -> None:
        decider = self._shared.decider
        self._require_order(manifest, parts)
        held, models = self._models
        snapshot = snapshot_of(manifest, parts, models if held is not None and parts.get("models") is held else None)
        self._models = (parts.get("models"), snapshot.models)
        if decider.newer(snapshot):
            decider.install(snapshot, decider.build(snapshot))
        decider.trial = self._trial(manifest, parts)
        self._parts, self._shared.learned = dict(parts), True
        self._shared.override = manifest.overrides.get(self._shared.identity.service)

    def _require_order(self, manifest: Manifest, parts: Mapping[str, bytes]) -> None:
        in_force, held = self._shared.decider.snapshot.order, self._parts.get("policies")
        if manifest.order < in_force:
            raise ProtocolError(
                f"revision {manifest.order} was offered and {in_force} is in force: snapshots never go "
                "back. After a restore from a backup an operator says: mcpctl epoch open"
            )
        if manifest.order == in_force and held is not None and held != parts.get("policies"):
            raise ProtocolError(
                f"revision {manifest.order} was offered with other policies than it has here: the store was set back "
                "and went on from there. An operator says which history holds: mcpctl epoch open"
            )

    def _trial(self, manifest: Manifest, parts: Mapping[str, bytes]) -> Trial | None:
        """Give the trial of a manifest's candidate; one that cannot be loaded here decides nothing here."""
        if manifest.candidate is None:
            return None
        try:
            return self._shared.decider.try_out(manifest.candidate, candidate_of(manifest, parts))
        except MeshError as error:
            logger.warning("the candidate of the rollout %s cannot be loaded: %s", manifest.candidate.id, error)
            return None
