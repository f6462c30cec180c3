"""A replica that listens, in this process, for readers that are slow or never read."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import uvicorn
from desks import Served

from mcp_sdk.context import Transition
from mcp_sdk.server.access.callers import Grant
from mcp_sdk.server.access.tokens import mint
from mcp_sdk.server.app import create_app
from mcp_sdk.server.run import Bind, uvicorn_options
from mcp_sdk.server.settings import ServerSettings
from mcp_sdk.stores.memory import MemoryStore

__all__ = ["Listening", "blobs", "listening"]


class Listening:
    """A replica at a port, and an admin's token; ``waiting`` are the bytes that wait for readers, by connection."""

    def __init__(self, served: Served, server: uvicorn.Server, token: str) -> None:
        self.served, self.token, self._server = served, token, server
        self.port: int = server.servers[0].sockets[0].getsockname()[1]

    @property
    def waiting(self) -> list[int]:
        return [one.transport.get_write_buffer_size() for one in self._server.server_state.connections]

    def client(self) -> httpx.AsyncClient:
        """Give a client that reads."""
        headers = {"authorization": f"Bearer {self.token}"}
        return httpx.AsyncClient(base_url=f"http://127.0.0.1:{self.port}", headers=headers, trust_env=False, timeout=20)

    async def ask(self, path: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Send a GET over a connection of which little is taken before it is read."""
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.setblocking(False)
        await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", self.port))
        reader, writer = await asyncio.open_connection(sock=connection, limit=4096)
        head = f"GET {path} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {self.token}\r\n\r\n"
        writer.write(head.encode())
        return reader, writer


def blobs(count: int, size: int, *, entity: str = "", model: str = "blob") -> list[Transition]:
    """Give transitions of as many entities, or of one, each with ``size`` characters."""
    return [
        Transition(model, entity or f"e-{number:03}", "s", f"{entity}{model}{number}", attributes={"text": "x" * size})
        for number in range(count)
    ]


def listening(work: Callable[[Listening], Awaitable[None]], **settings: Any) -> None:
    """Do ``work`` with a replica that listens."""
    chosen = ServerSettings(store="memory:", **settings)
    token, text = mint("test", [Grant("admin")], now=time.time())

    async def run() -> None:
        store = MemoryStore()
        app = create_app(chosen, store)
        server = uvicorn.Server(uvicorn.Config(app, **uvicorn_options(chosen, Bind(port=0), 0)))
        serving = asyncio.create_task(server.serve())
        while not server.started:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.01)
        await app.state.desk.hub.tokens.add(token)
        try:
            async with asyncio.timeout(40):
                await work(Listening(Served(app, store), server, text))
        finally:
            server.should_exit = True
            await serving

    asyncio.run(run())
