"""Connections before they say anything: how many there may be, and of them how many streams."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest
import uvicorn

from mcp_sdk.server.connections import Http, allow_connections

GET = b"GET / HTTP/1.1\r\nhost: a\r\n"
Opened = tuple[asyncio.StreamReader, asyncio.StreamWriter]


CODE = """
import resource, sys
soft, hard, streams = map(int, sys.argv[1:])
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
from mcp_sdk.server.connections import allow_connections, allow_streams
print(allow_streams(streams, allow_connections()), *resource.getrlimit(resource.RLIMIT_NOFILE))
"""
FEW = partial(Http, most=3)


async def answering(scope: Any, receive: Any, send: Any) -> None:
    """Answer."""
    del scope, receive
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


def served(work: Callable[[Callable[[], Awaitable[Opened]]], Awaitable[None]]) -> None:
    """Do ``work`` with what opens a connection to a server."""

    async def run() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            port = listening.getsockname()[1]
            server = uvicorn.Server(uvicorn.Config(answering, http=FEW, lifespan="off", log_config=None))
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


@pytest.mark.parametrize(
    ("limits", "wanted", "found", "told"),
    [
        ((300, 900), 500, "500 900 900", ""),
        ((300, 900), 5000, "700 900 900", "there is room for 700 streams, not 5000"),
        ((300, 300), 5000, "118 300 300", "Raise that with: ulimit -Hn 5200"),
    ],
)
def test_the_soft_limit_is_raised_and_what_does_not_fit_is_said(
    limits: tuple[int, int], wanted: int, found: str, told: str
) -> None:
    """A stream is an open file: a replica takes as many as the administrator allows, and holds no more streams."""
    command = [sys.executable, "-c", CODE, *map(str, limits), str(wanted)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == found
    assert told in done.stderr
