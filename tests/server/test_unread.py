"""Answers that nobody reads: they are few at once, and whoever takes nothing of one is cut off."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress

from desks import Served, served
from reading import Listening, blobs, listening
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from mcp_sdk.protocol.frames import frame
from mcp_sdk.server.access.callers import Grant
from mcp_sdk.server.pages import PAGE
from mcp_sdk.server.unread import PIECE

MIB = 1024 * 1024
LISTING = "/v1/contexts/blob"


async def ended(reader: asyncio.StreamReader) -> bytes:
    """Give what still comes until the other side closes."""
    found = b""
    with suppress(ConnectionError):
        while more := await reader.read(PIECE):
            found += more
    return found


def test_who_never_reads_is_cut_off_and_leaves_room_for_the_next() -> None:
    """While it is waited for, another large answer is refused, and what is small is answered."""

    async def work(at: Listening) -> None:
        await at.served.store.append(blobs(8, MIB - 4096))
        reader, writer = await at.ask(LISTING)
        async with at.client() as client:
            while (answer := await client.get(LISTING)).status_code == 200:
                pass
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
            assert answer.json()["type"] == "urn:mcp-sdk:problem:too-many-answers"
            assert (await client.get("/v1/contexts/nothing")).status_code == 200
            while (await client.get(LISTING)).status_code != 200:  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0.05)
        assert len(await ended(reader)) < 8 * (MIB - 4096)
        writer.close()

    listening(work, write_time=0.5, answers=PAGE)


def test_who_reads_slowly_gets_all_of_it() -> None:
    """A piece within the time is enough, however long the whole takes."""

    async def work(at: Listening) -> None:
        await at.served.store.append(blobs(8, MIB - 4096))
        reader, writer = await at.ask(LISTING)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        left = int(head.partition(b"content-length: ")[2].partition(b"\r")[0])
        while left:
            await asyncio.sleep(0.1)
            left -= len(await reader.readexactly(min(left, 2 * PIECE)))
        writer.close()

    listening(work, write_time=1.5)


def test_who_reads_steadily_gets_all_of_it_whatever_the_kernel_holds() -> None:
    """With buffers of the usual size: what leaves this process has to be what the reader takes, or nearly."""

    async def work(at: Listening) -> None:
        await at.served.store.append(blobs(8, MIB - 4096))
        reader, writer = await asyncio.open_connection("127.0.0.1", at.port, limit=4096)
        writer.write(f"GET {LISTING} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {at.token}\r\n\r\n".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        left = int(head.partition(b"content-length: ")[2].partition(b"\r")[0])
        for _ in range(24):
            await asyncio.sleep(0.25)
            left -= len(await reader.readexactly(50_000))
        await reader.readexactly(left)
        writer.close()

    listening(work, write_time=3.0)


def test_a_small_rest_is_not_waited_for_longer_than_a_large_one() -> None:
    """Without a token: answers that are small, of which one waits in this process at last."""

    async def work(at: Listening) -> None:
        _, writer = await at.ask("/nope")
        while not any(at.waiting):
            writer.write(b"GET /openapi.json HTTP/1.1\r\nhost: a\r\n\r\n")
            await asyncio.sleep(0.02)
        while at.waiting:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.02)
        writer.close()

    listening(work, write_time=0.5)


def test_one_caller_leaves_room_for_others() -> None:
    """Whoever holds a quarter of all that large answers may take is refused more; somebody else is not."""

    async def work(at: Listening) -> None:
        await at.served.store.append(blobs(8, MIB - 4096))
        asked = [await at.ask(LISTING) for _ in range(8)]
        heads = [await reader.readline() for reader, _ in asked]
        assert sorted(heads) == [b"HTTP/1.1 200 OK\r\n"] * 2 + [b"HTTP/1.1 503 Service Unavailable\r\n"] * 6
        other = await at.served.client(Grant("viewer"), name="other")
        assert (await other.get(LISTING)).status_code == 200
        for _, writer in asked:
            writer.close()

    listening(work, answers=8 * PAGE)


def test_what_changes_something_is_answered_whatever_is_under_way() -> None:
    """It is done by then, and a refusal would have it done again."""

    async def work(at: Listening) -> None:
        await at.served.store.append(blobs(8, MIB - 4096))
        reader, writer = await at.ask(LISTING)
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        sources = {f"p{number}": "# " + "x" * 500_000 for number in range(4)}
        async with at.client() as client:
            answer = await client.post("/v1/policies", json={"sources": sources, "replaces": 0})
        assert answer.status_code == 200, answer.text[:300]
        assert len(answer.content) > 2_000_000
        writer.close()

    listening(work, answers=PAGE)


def test_a_stream_that_never_reads_is_cut_off() -> None:
    """What it asked for waits until then, and it asks for no more meanwhile."""

    async def work(at: Listening) -> None:
        await at.served.store.append(blobs(8, MIB))
        address = f"ws://127.0.0.1:{at.port}/v1/stream"
        headers = {"authorization": f"Bearer {at.token}"}
        hub = at.served.desk.hub
        async with connect(
            address, additional_headers=headers, max_queue=1, compression=None, close_timeout=0.1
        ) as stream:
            await stream.send(frame("hello", protocol=[1]))
            while not hub.streams:  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0.01)
            asking = asyncio.create_task(ask(stream))
            while hub.streams:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
            asking.cancel()

    async def ask(stream: ClientConnection) -> None:
        with suppress(ConnectionClosed):
            for number in range(1000):
                await stream.send(frame("get", id=number, refs=[["blob", f"e-{one:03}"] for one in range(7)]))

    listening(work, write_time=0.5)


def test_large_answers_to_one_stream_wait_for_each_other() -> None:
    """Whoever asks for more than may wait at once gets all of it, and misses nothing for it."""

    async def work(at: Listening) -> None:
        await at.served.store.append(blobs(3, 2 * MIB))
        address = f"ws://127.0.0.1:{at.port}/v1/stream"
        async with connect(
            address, additional_headers={"authorization": f"Bearer {at.token}"}, compression=None, max_size=64 * MIB
        ) as stream:
            await stream.send(frame("hello", protocol=[1]))
            for number in range(6):
                await stream.send(frame("get", id=number, refs=[["blob", f"e-{one:03}"] for one in range(3)]))
            told = []
            while len(told) < 6:
                said = json.loads(await stream.recv())
                assert said["op"] != "resync"
                told += [(said["id"], len(said["contexts"]))] if said["op"] == "contexts" else []
            assert told == [(number, 3) for number in range(6)]

    listening(work)


def test_an_answer_that_is_larger_than_all_may_be_is_given_alone() -> None:
    """It would be refused for ever otherwise."""

    async def work(at: Served) -> None:
        await at.store.append(blobs(2, MIB))
        client = await at.client(Grant("viewer"))
        answers = [await client.get(LISTING) for _ in range(3)]
        assert [len(answer.json()["contexts"]) for answer in answers] == [2, 2, 2]

    served(work, answers=MIB)
