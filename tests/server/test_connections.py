"""Connections before they say anything: how long they may take to, and how many there may be."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import uvicorn

from mcp_sdk.server.connections import Bounded, allow_connections

GET = b"GET / HTTP/1.1\r\nhost: a\r\n"
Opened = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Quick(Bounded):
    """Gives up soon."""

    head = 0.05
    most = 3


async def answering(scope: Any, receive: Any, send: Any) -> None:
    """Answer in three times the time that a head may take."""
    del scope, receive
    await asyncio.sleep(0.15)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


def served(work: Callable[[Callable[[], Awaitable[Opened]]], Awaitable[None]]) -> None:
    """Do ``work`` with what opens a connection to a server."""

    async def run() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            port = listening.getsockname()[1]
            server = uvicorn.Server(uvicorn.Config(answering, http=Quick, lifespan="off", log_config=None))
            serving = asyncio.create_task(server.serve([listening]))
            async with asyncio.timeout(20):
                await work(lambda: asyncio.open_connection("127.0.0.1", port))
            server.should_exit = True
            await serving

    asyncio.run(run())


async def ended(reader: asyncio.StreamReader) -> bytes:
    """Give what still comes until the other side closes."""
    try:
        return await reader.read()
    except ConnectionError:
        return b""


def test_a_head_that_never_ends_is_given_up() -> None:
    """Also one that comes after a request that was answered, and a connection on which nothing comes at all."""

    async def work(connect: Callable[[], Awaitable[Opened]]) -> None:
        for said in (b"", GET + b"x: ", GET + b"\r\n" + GET + b"x: "):
            reader, writer = await connect()
            writer.write(said)
            assert (await ended(reader)).endswith(b"ok" if b"\r\n\r\n" in said else b"")
            writer.close()

    served(work)


def test_a_request_under_way_is_not_given_up() -> None:
    """An answer may take longer than a head, and so may the next."""

    async def work(connect: Callable[[], Awaitable[Opened]]) -> None:
        reader, writer = await connect()
        for _ in range(2):
            writer.write(GET + b"\r\n")
            assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200")
        writer.close()

    served(work)


def test_connections_beyond_the_most_are_closed_at_once() -> None:
    """They do not take the file descriptors that the store needs; when others end there is room again."""

    async def work(connect: Callable[[], Awaitable[Opened]]) -> None:
        opened = [await connect() for _ in range(3)]
        for _, writer in opened:
            writer.write(GET + b"\r\n")
        await asyncio.gather(*(reader.readuntil(b"HTTP") for reader, _ in opened))
        reader, writer = await connect()
        writer.write(GET + b"\r\n")
        assert await ended(reader) == b""
        for _, other in [*opened, (reader, writer)]:
            other.close()
        await asyncio.gather(*(ended(reader) for reader, _ in opened))
        reader, writer = await connect()
        writer.write(GET + b"\r\n")
        assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200")
        writer.close()

    served(work)


def test_there_is_room_for_some_connections() -> None:
    """Whatever the system says of files."""
    assert allow_connections() > 0
