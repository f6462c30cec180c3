"""Headers that do not come: a connection is given so long until a request is there."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from typing import NamedTuple

import pytest
import uvicorn
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from mcp_sdk.protocol.frames import frame
from mcp_sdk.server.access.callers import Grant
from mcp_sdk.server.access.tokens import mint
from mcp_sdk.server.app import create_app
from mcp_sdk.server.run import Bind, uvicorn_options
from mcp_sdk.server.settings import ServerSettings
from mcp_sdk.stores.memory import MemoryStore

HEAD = b"GET /healthz HTTP/1.1\r\nhost: a\r\n"


class Peer(NamedTuple):
    """A connection, where it goes to, and who may ask there."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    port: int
    token: str


def served(talk: Callable[[Peer], Awaitable[None]], seconds: float) -> None:
    """Talk to a server that waits so long for a head."""
    settings = ServerSettings(store="memory:", head_time=seconds)
    token, text = mint("test", [Grant("publisher")], now=time.time())

    async def run() -> None:
        app = create_app(settings, MemoryStore())
        server = uvicorn.Server(uvicorn.Config(app, **uvicorn_options(settings, Bind(port=0), 0)))
        serving = asyncio.create_task(server.serve())
        while not server.started:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.01)
        await app.state.desk.hub.tokens.add(token)
        port = server.servers[0].sockets[0].getsockname()[1]
        peer = Peer(*await asyncio.open_connection("127.0.0.1", port), port, text)
        try:
            async with asyncio.timeout(20):
                await talk(peer)
        finally:
            peer.writer.close()
            server.should_exit = True
            await serving

    asyncio.run(run())


async def answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    """Give the status of an answer and what its JSON holds."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    length = int(head.partition("content-length: ")[2].partition("\r")[0])
    return int(head.split()[1]), json.loads(await reader.readexactly(length))


async def drip(writer: asyncio.StreamWriter, data: bytes) -> None:
    """Send a byte now and then."""
    for byte in data:
        writer.write(bytes([byte]))
        await asyncio.sleep(0.02)


def test_half_a_head_is_answered_and_closed() -> None:
    """Who sends a byte now and then, for ever, is told so after the time of one head, and hung up on."""

    async def talk(peer: Peer) -> None:
        dripping = asyncio.create_task(drip(peer.writer, HEAD + b"a: b\r\n" * 1000))
        status, said = await answer(peer.reader)
        assert (status, said["type"]) == (408, "urn:mcp-sdk:problem:head-too-slow")
        assert "no headers came within 0.5 s" in said["detail"]
        assert await peer.reader.read() == b""
        dripping.cancel()

    served(talk, 0.5)


def test_a_later_head_on_the_same_connection_is_waited_for_as_long() -> None:
    """A connection that was good once may not stay for the half of another request."""

    async def talk(peer: Peer) -> None:
        peer.writer.write(HEAD + b"\r\n")
        assert (await answer(peer.reader))[0] == 200
        dripping = asyncio.create_task(drip(peer.writer, HEAD * 1000))
        assert (await answer(peer.reader))[0] == 408
        dripping.cancel()

    served(talk, 0.5)


def test_a_connection_that_says_nothing_is_closed_without_a_word() -> None:
    """Nothing was asked, so nothing is answered."""

    async def talk(peer: Peer) -> None:
        assert await peer.reader.read() == b""

    served(talk, 0.3)


def test_a_head_in_pieces_and_a_request_that_lasts_are_left_alone() -> None:
    """The time is for the head alone: what follows it has bounds of its own."""

    async def talk(peer: Peer) -> None:
        for part in (HEAD, b"\r\n"):
            peer.writer.write(part)
            await asyncio.sleep(0.05)
        assert (await answer(peer.reader))[0] == 200
        head = f"POST /v1/decide HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {peer.token}\r\n"
        peer.writer.write(f"{head}content-type: application/json\r\ncontent-length: 18\r\n\r\n".encode())
        await asyncio.sleep(1.5)
        peer.writer.write(b'{"service":"shop"}')
        assert (await answer(peer.reader))[0] == 200

    served(talk, 1.0)


def test_a_stream_is_left_alone() -> None:
    """Once it is a WebSocket no more heads are waited for."""

    async def talk(peer: Peer) -> None:
        headers = {"authorization": f"Bearer {peer.token}"}
        async with connect(f"ws://127.0.0.1:{peer.port}/v1/stream", additional_headers=headers, proxy=None) as socket:
            await socket.send(frame("hello", protocol=[1], models=[]))
            await asyncio.sleep(1.5)
            await socket.send(frame("get", id=1, refs=[]))
            while json.loads(await socket.recv())["op"] != "contexts":
                pass

    served(talk, 1.0)


def test_a_stream_that_does_not_say_hello_may_try_again() -> None:
    """It is closed as one to open anew: that it came late may be the fault of either side."""

    async def talk(peer: Peer) -> None:
        headers = {"authorization": f"Bearer {peer.token}"}
        async with connect(f"ws://127.0.0.1:{peer.port}/v1/stream", additional_headers=headers, proxy=None) as socket:
            with pytest.raises(ConnectionClosed, match="1013"):
                await socket.recv()

    served(talk, 0.5)
