"""A replica that does not hear its store: how long it decides, what it says then, and that it goes on by itself."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from desks import Served, served

from mcp_sdk.cli import main
from mcp_sdk.context import MESH, Scope
from mcp_sdk.exceptions import StoreUnavailable
from mcp_sdk.ports import Cursor, Record
from mcp_sdk.server.access.callers import Caller, Grant
from mcp_sdk.server.questions import thinly
from mcp_sdk.server.streams import Stream
from mcp_sdk.stores.memory import MemoryStore

SHOP = {"service": "shop"}
QUICK: dict[str, Any] = {"staleness": 1.0, "lease_check": 0.02}


class Silent(MemoryStore):
    """While ``cut`` it gives no sign of life, and its watches hear nothing and do not end: a network that swallows."""

    cut = False

    async def cursor(self) -> Cursor:
        if self.cut:
            raise StoreUnavailable("nobody answers")
        return await super().cursor()


async def until(holds: Callable[[], object]) -> None:
    """Wait until something holds."""
    while not holds():  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(0.01)


def test_a_replica_that_hears_nothing_decides_no_longer_and_goes_on_by_itself() -> None:
    """Past ``staleness`` there is one clear 503 and it is unready; with the next sign of life all is as before."""
    store = Silent()

    async def work(at: Served) -> None:
        client, hub = await at.client(Grant("publisher")), at.desk.hub
        assert (await client.post("/v1/decide", json=SHOP)).status_code == 200
        store.cut = True
        assert (await client.post("/v1/decide", json=SHOP)).status_code == 200
        await until(lambda: hub.stale)
        refused = await client.post("/v1/decide", json=SHOP)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert refused.json()["type"] == "urn:mcp-sdk:problem:stale"
        assert "decides no longer" in refused.json()["detail"]
        assert (await client.get("/readyz")).json()["type"] == "urn:mcp-sdk:problem:stale"
        store.cut = False
        await until(lambda: not hub.stale)
        assert (await client.post("/v1/decide", json=SHOP)).status_code == 200
        assert (await client.get("/readyz")).status_code == 200

    served(work, store, **QUICK)


def test_streams_are_sent_away_from_a_replica_that_hears_nothing() -> None:
    """Another replica may know better, so a stale one keeps nobody: clients are told to go, thin ones get no answer."""
    store = Silent()

    async def work(at: Served) -> None:
        hub = at.desk.hub
        stream = Stream(hub, await hub.scope(Scope()), at.desk.settings)
        stream.begin("", [], thin=True)
        store.cut = True
        await until(lambda: stream.outbox.ending)
        assert json.loads(await stream.outbox.next())["op"] == "bye"
        decider = partial(thinly, at.desk, Caller("shop", (Grant("publisher"),)), Scope())
        asked = Stream(hub, await hub.scope(Scope()), at.desk.settings, decider=decider)
        await asked.answer({"op": "decide", "id": 7, "question": {"format": 1, **SHOP}})
        said = json.loads(await asked.outbox.next())
        assert (said["op"], said["id"]) == ("failed", 7)

    served(work, store, **QUICK)


@pytest.mark.parametrize("lost", [StoreUnavailable("gone"), RuntimeError("broken")])
def test_a_watch_that_ends_is_taken_up_where_it_was(lost: Exception) -> None:
    """Whatever ends it: what changed meanwhile is learned, and nothing is decided by silence alone."""

    class Ending(MemoryStore):
        ends = 2

        async def watch(self, cursor: Cursor) -> Any:
            self.ends -= 1
            if self.ends >= 0:
                raise lost
            async for change in super().watch(cursor):
                yield change

    async def work(at: Served) -> None:
        heard: list[str] = []
        at.desk.hub.taps |= {lambda change: heard.append(change.record)}
        await at.store.put_record(MESH, Record("note", "n", {}))
        await until(lambda: "note" in heard)
        assert not at.desk.hub.stale

    served(work, Ending())


def test_a_time_that_leaves_none_to_hear_is_refused() -> None:
    """The option takes a second at least, and says so before anything is opened."""
    err = io.StringIO()
    assert main(["serve", "--staleness", "0.5", "--store", "memory:"], io.StringIO(), err) != 0
    assert "--staleness 0.5: give a second at least" in err.getvalue()
