"""What a client puts in force: only what is signed, whole, of its own scope, and not older than what it has."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from mcp_sdk import Config
from mcp_sdk.clients.installing import Installer
from mcp_sdk.clients.lastgood import LastGood
from mcp_sdk.clients.snapshots import Trust
from mcp_sdk.context import Scope
from mcp_sdk.control.plane import Shared
from mcp_sdk.exceptions import ProtocolError
from mcp_sdk.policy import compile_policies
from mcp_sdk.ports import Identity
from mcp_sdk.protocol.manifests import Envelope, Manifest, PartRef, Signer, digest
from mcp_sdk.snapshot import canonical
from mcp_sdk.telemetry import Telemetry

POLICY = """
apiVersion: mesh.mcp-sdk.dev/v1alpha1
kind: AccessPolicy
metadata: {name: NAME}
spec:
  target: {service: shop}
  default: deny
"""
Parts = dict[str, bytes]


class Server:
    """Signs snapshots as a control plane does."""

    def __init__(self) -> None:
        self.signer = Signer()
        self.parts: Parts = {}

    def snapshot(self, revision: int, name: str = "one", scope: Scope = Scope()) -> Envelope:  # noqa: B008 - frozen
        """Give a signed manifest; its parts are in ``parts``."""
        programs = compile_policies({"a.yaml": POLICY.replace("NAME", name)}, {})
        self.parts = {"models": canonical({}), "policies": canonical(dict(programs))}
        refs = {name: PartRef(digest(part), len(part)) for name, part in self.parts.items()}
        return self.signer.sign(Manifest(scope, 1, revision, refs, mesh="default").to_dict())

    @property
    def sent(self) -> Mapping[str, Any]:
        """The parts, as they are sent along."""
        return {name: part.decode() for name, part in self.parts.items()}

    async def fetch(self, wanted: str) -> bytes:
        """Give the part of a digest."""
        return next(part for part in self.parts.values() if digest(part) == wanted)


def client(server: Server, directory: str = "") -> tuple[Shared, Installer]:
    """Give an installer that trusts the server, and what it puts things in force in."""
    shared = Shared(Identity("shop"), Config(service="shop"), Telemetry())
    trust = Trust([server.signer.public.hex()])
    return shared, Installer(shared, trust, LastGood(directory, "http://server", Scope()))


def take(installer: Installer, server: Server, envelope: Envelope, sent: Mapping[str, Any]) -> Mapping[str, bytes]:
    """Have a snapshot taken."""
    return asyncio.run(installer.take(envelope, sent, server.fetch))


def test_parts_come_along_or_are_fetched() -> None:
    """Either way the snapshot is in force afterwards."""
    for along in (True, False):
        server = Server()
        shared, installer = client(server)
        envelope = server.snapshot(3)
        assert take(installer, server, envelope, server.sent if along else {}) == server.parts
        assert (shared.decider.snapshot.revision, shared.learned) == (3, True)


def test_a_part_that_is_another_changes_nothing() -> None:
    """A part is what its digest in the signed manifest says, or the snapshot is not taken."""
    server = Server()
    shared, installer = client(server)
    envelope = server.snapshot(1)
    with pytest.raises(ProtocolError, match="not the one"):
        take(installer, server, envelope, {**server.sent, "policies": "{}"})
    assert not shared.learned


def test_snapshots_never_go_back() -> None:
    """An older revision, and the same revision with other policies, are refused with what an operator may do."""
    server = Server()
    shared, installer = client(server)
    take(installer, server, server.snapshot(2), server.sent)
    for revision, name in ((1, "one"), (2, "two")):
        with pytest.raises(ProtocolError, match="mcpctl epoch open"):
            take(installer, server, server.snapshot(revision, name), server.sent)
    assert shared.decider.snapshot.revision == 2


@pytest.mark.parametrize("scope", [Scope("other", "default"), Scope("default", "prod")])
def test_another_scope_is_not_taken(scope: Scope) -> None:
    """Who is sent what is meant for somebody else does not decide by it."""
    server = Server()
    _, installer = client(server)
    with pytest.raises(ProtocolError, match="the manifest is of"):
        take(installer, server, server.snapshot(1, scope=scope), server.sent)


def test_another_key_is_not_believed() -> None:
    """A server that signs with a key which is not trusted is not heard."""
    server, other = Server(), Server()
    _, installer = client(other)
    with pytest.raises(ProtocolError):
        take(installer, server, server.snapshot(1), server.sent)


def test_what_was_kept_is_recalled(tmp_path: Path) -> None:
    """A process that starts without its server begins with the last good snapshot; a damaged one is passed over."""
    server = Server()
    _, installer = client(server, str(tmp_path))
    envelope = server.snapshot(5)
    asyncio.run(installer.keep(envelope, take(installer, server, envelope, server.sent)))
    shared, again = client(server, str(tmp_path))
    assert again.recall()
    assert shared.decider.snapshot.revision == 5
    (file,) = tmp_path.iterdir()
    file.write_text(file.read_text().replace("deny", "permit"))
    shared, again = client(server, str(tmp_path))
    assert not again.recall()
    assert not shared.learned
