"""Streams of the server: what waits for a slow reader, what is held, what is told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import httpx
import pytest
from serving import Replica
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from mcp_sdk.context import EntityRef, Scope
from mcp_sdk.exceptions import ProtocolError
from mcp_sdk.ports import SigningKey
from mcp_sdk.protocol.frames import CLOSE_REFUSED
from mcp_sdk.server.hub import Hub
from mcp_sdk.server.settings import ServerSettings
from mcp_sdk.server.streams import Outbox, Stream
from mcp_sdk.stores.memory import MemoryStore
from mcp_sdk.testing.stores import move

ORDERS = {"op": "listen", "models": ["order"]}


def served(work: Callable[[Hub, MemoryStore], Awaitable[None]], **settings: Any) -> None:
    """Do ``work`` with a hub that watches a store."""

    async def run() -> None:
        store = MemoryStore()
        hub = Hub(store, ServerSettings(**settings))
        await hub.start()
        try:
            async with asyncio.timeout(20):
                await work(hub, store)
        finally:
            await hub.close()

    asyncio.run(run())


async def stream(hub: Hub, scope: Scope = Scope(), *, cursor: str = "") -> Stream:  # noqa: B008
    """Give a stream that has begun, with its greetings read."""
    if not await hub.store.keys(scope):
        await hub.store.put_key(scope, SigningKey("k", bytes(16)))
    made = Stream(hub, await hub.scope(scope), hub._settings)
    made.begin(cursor, [])
    greeted = {json.loads(await made.outbox.next())["op"] for _ in range(3)}
    assert greeted == {"manifest", "services", "keys"}
    return made


async def told(of: Stream) -> dict[str, Any]:
    """Give the next frame."""
    return json.loads(await of.outbox.next())


def test_a_slow_reader_is_asked_to_read_anew() -> None:
    """Frames that wait are bounded: where there are more, one frame stands for them all."""

    async def run() -> None:
        outbox = Outbox(3, lambda: "resync")
        for number in range(3):
            outbox.push(str(number))
        outbox.push("one too many")
        outbox.push("after it")
        assert [await outbox.next() for _ in range(2)] == ["resync", "after it"]

    asyncio.run(run())


def test_only_the_newest_of_a_slot_is_sent_and_first() -> None:
    """What is in force comes before changes, and an older one that waits is replaced."""

    async def run() -> None:
        outbox = Outbox(3, lambda: "")
        outbox.push("change")
        outbox.replace("manifest", "old")
        outbox.replace("manifest", "new")
        assert [await outbox.next() for _ in range(2)] == ["new", "change"]

    asyncio.run(run())


def test_a_stream_is_told_of_what_it_holds_and_listens_to() -> None:
    """Changes of held entities and of models that are listened to are told; others are not; ``drop`` ends it."""

    async def work(hub: Hub, store: MemoryStore) -> None:
        await store.append([move("o-1"), move("o-2"), move("u-1", model="user")])
        one = await stream(hub)
        await one.answer({"op": "get", "id": 7, "refs": [["order", "o-1"]]})
        answer = await told(one)
        assert (answer["op"], answer["id"], [each["id"] for each in answer["contexts"]]) == ("contexts", 7, ["o-1"])
        await one.answer({"op": "listen", "models": ["user"]})
        await store.append([move("o-2", "paid"), move("o-1", "paid"), move("u-1", "vip", model="user")])
        heard = [(await told(one))["applied"]["context"]["id"] for _ in range(2)]
        assert heard == ["o-1", "u-1"]
        await one.answer({"op": "drop", "refs": [["order", "o-1"]]})
        await store.append([move("o-1", "x"), move("u-1", "y", model="user")])
        assert (await told(one))["applied"]["context"]["id"] == "u-1"

    served(work)


def test_what_is_held_is_bounded_and_the_client_is_told() -> None:
    """Where more entities are looked up than a stream may hold, the oldest are dropped, and it is said which."""

    async def work(hub: Hub, _: MemoryStore) -> None:
        one = await stream(hub)
        await one.answer({"op": "get", "id": 1, "refs": [["order", f"o-{number}"] for number in range(3)]})
        frames = [await told(one) for _ in range(2)]
        assert frames[0] == {"op": "dropped", "refs": [["order", "o-0"]]}
        assert EntityRef("order", "o-0") not in (await hub.scope(Scope())).holders

    served(work, holds=2)


def test_a_stream_that_ends_leaves_nothing_behind() -> None:
    """Nobody is told, and nothing kept, for a stream that has ended."""

    async def work(hub: Hub, store: MemoryStore) -> None:
        one = await stream(hub)
        await one.answer({"op": "get", "id": 1, "refs": [["order", "o-1"]]})
        await one.answer(ORDERS)
        one.end()
        live = await hub.scope(Scope())
        assert (live.streams, dict(live.holders), dict(live.listeners)) == (set(), {}, {})
        await store.append([move("o-1")])

    served(work)


def test_a_stream_that_comes_back_hears_what_it_missed() -> None:
    """With its cursor, and listening, a client is told of the transitions since; of a lost position, to read anew."""

    async def work(hub: Hub, store: MemoryStore) -> None:
        live = await hub.scope(Scope())
        one = await stream(hub)
        one.listen(["order"])
        await store.append([move("o-1"), move("u-1", model="user"), move("o-2")])
        first = await told(one)
        one.end()
        again = Stream(hub, live, hub._settings)
        last = await store.cursor()
        while hub.cursor != last:  # noqa: ASYNC110 - the hub watches, and tells nobody of it
            await asyncio.sleep(0.01)
        again.begin(first["cursor"], ["order"])
        frames = [await told(again) for _ in range(4)]
        assert [each["applied"]["context"]["id"] for each in frames if each["op"] == "change"] == ["o-2"]
        lost = Stream(hub, live, hub._settings)
        lost.begin("elsewhere:1", ["order"])
        assert "resync" in [(await told(lost))["op"] for _ in range(4)]

    served(work)


@pytest.mark.parametrize("refs", ["x", [1], [["a"]], [["a", 1]], [["a", "b", "c"]], [["a", "b"]] * 1001])
def test_a_frame_that_cannot_be_understood_is_refused(refs: object) -> None:
    """References of another form, or too many of them, raise; nothing is held."""

    async def work(hub: Hub, _: MemoryStore) -> None:
        one = await stream(hub)
        with pytest.raises(ProtocolError):
            await one.answer({"op": "get", "id": 1, "refs": refs})

    served(work)


def test_an_unknown_frame_is_passed_over() -> None:
    """A client that is a version ahead may say what is not known here."""

    async def work(hub: Hub, _: MemoryStore) -> None:
        await (await stream(hub)).answer({"op": "sing"})

    served(work)


def test_a_last_frame_goes_before_all_that_waits() -> None:
    """Whoever is sent away hears so next, however much waits for it."""

    async def run() -> None:
        outbox = Outbox(10, lambda: "resync")
        outbox.push("waits")
        outbox.replace("slot", "waits too")
        outbox.end("bye")
        assert (outbox.ending, outbox.ended) == (True, False)
        assert await outbox.next() == "bye"
        assert outbox.ended

    asyncio.run(run())


def test_what_a_stream_listens_to_is_bounded() -> None:
    """Model names are not checked against what is declared, so a stream could fill the memory with them."""

    async def work(hub: Hub, _: MemoryStore) -> None:
        one = await stream(hub)
        await one.answer({"op": "listen", "models": [f"m-{number}" for number in range(1000)]})
        await one.answer({"op": "listen", "models": ["m-0"]})
        for models in (["another"], ["m" * 201], [7], "order"):
            with pytest.raises(ProtocolError):
                await one.answer({"op": "listen", "models": models})

    served(work)


def test_an_entity_that_there_cannot_be_is_not_held() -> None:
    """Ids are bounded in transitions; looking longer ones up finds nothing, and keeps nothing."""

    async def work(hub: Hub, _: MemoryStore) -> None:
        one = await stream(hub)
        refs = [["order", "o" * 4097], ["m" * 201, "o"], ["order", "o" * 4096]]
        await one.answer({"op": "get", "id": 1, "refs": refs})
        assert (await told(one))["contexts"] == []
        assert list((await hub.scope(Scope())).holders) == [EntityRef("order", "o" * 4096)]

    served(work)


HELLO = {"op": "hello", "protocol": [1]}


@pytest.mark.parametrize(
    "hello",
    [
        HELLO | {"models": 5},
        HELLO | {"models": None},
        HELLO | {"models": [{}]},
        HELLO | {"models": [f"m-{number}" for number in range(1001)]},
        HELLO | {"protocol": 7},
        HELLO | {"protocol": None},
        HELLO | {"namespace": "n" * 201},
        HELLO | {"environment": None},
        {"op": "get"},
    ],
    ids=str,
)
def test_a_greeting_that_cannot_be_understood_is_refused_and_leaves_no_stream(
    replica: Replica, admin: httpx.Client, hello: dict[str, Any]
) -> None:
    """It is told why; and it is not counted among the streams for ever."""

    async def greeted() -> tuple[int, str]:
        headers = {"authorization": admin.headers["authorization"]}
        url = f"{replica.url.replace('http', 'ws')}/v1/stream"
        async with connect(url, additional_headers=headers, proxy=None) as socket:
            await socket.send(json.dumps(hello))
            with suppress(ConnectionClosed):
                while True:
                    await socket.recv()
            return socket.close_code or 0, socket.close_reason or ""

    code, reason = asyncio.run(greeted())
    assert (code, bool(reason)) == (CLOSE_REFUSED, True)
    assert "mcp_sdk_streams_open 0.0" in admin.get("/metrics").text
