"""A server over a NATS that stops answering."""

from __future__ import annotations

import asyncio
from pathlib import Path
from signal import SIGCONT, SIGSTOP

import pytest

pytest.importorskip("fastapi", reason="a server needs mcp-sdk[server]")
from halting import outlive
from mcp_sdk_nats import connect
from nats_servers import Nats

from mcp_sdk.ports import Cursor
from mcp_sdk.testing.stores import move

pytestmark = pytest.mark.services


class Halted(Nats):
    """A NATS that can be halted."""

    def halt(self) -> None:
        assert self.process is not None
        self.process.send_signal(SIGSTOP)

    def resume(self) -> None:
        assert self.process is not None
        self.process.send_signal(SIGCONT)


def test_a_nats_that_stops_answering_costs_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    """Callers get one clear 503, services decide on, memory stays bounded, and afterwards all goes on by itself."""
    folder = tmp_path / "nats"
    folder.mkdir()
    server = Halted(folder)
    try:
        acknowledged = outlive(tmp_path, f"{server.url}/halted", server)
        assert set(acknowledged) <= asyncio.run(_stored(f"{server.url}/halted"))
    finally:
        server.end()


async def _stored(url: str) -> set[str]:
    """Give the ids of the events in a log, as a watcher from the beginning hears of them."""
    store, found = connect(url), set[str]()
    await store.open()
    begin = Cursor(f"{(await store.cursor()).partition(':')[0]}:0")
    await store.append([move(event_id="last")])
    async for change in store.watch(begin):
        if change.applied is not None:
            found.add(change.applied.transition.event_id)
        if "last" in found:
            break
    await store.close()
    return found
