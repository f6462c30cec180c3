"""Running a replica: the process, its socket, and what a first start prepares."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn
from fastapi import FastAPI

from mcp_sdk._plugins import STORES, load
from mcp_sdk.context import MESH, Scope
from mcp_sdk.exceptions import ConfigurationError
from mcp_sdk.ports import Store
from mcp_sdk.problems import problem
from mcp_sdk.server import peers
from mcp_sdk.server.app import create_app
from mcp_sdk.server.auditor import Auditor
from mcp_sdk.server.callers import Caller, Grant
from mcp_sdk.server.connections import Bounded, allow_connections
from mcp_sdk.server.exits import Exits
from mcp_sdk.server.identities import KIND as IDENTITY
from mcp_sdk.server.live import SIGNER, signer_of
from mcp_sdk.server.settings import ServerSettings
from mcp_sdk.server.tokens import KIND as TOKEN
from mcp_sdk.server.tokens import Tokens, mint

__all__ = ["Bind", "Prepared", "prepare", "serve"]

LINGER = 1.0
"""Seconds."""
HEAD = 65_536
"""Bytes that may come before a head is whole, or a trailer."""
STARTING = Caller("mcpctl serve", key="local")
"""Who stands in the audit log for what a start makes: whoever may start a replica over the store."""


@dataclass(frozen=True)
class Bind:
    """Where a replica listens; ``fd`` is a socket that is open already. Paths are of PEM files."""

    host: str = "127.0.0.1"
    port: int = 8600
    fd: int | None = None
    certificate: str = ""
    private_key: str = ""
    client_ca: str = ""

    @property
    def url(self) -> str:
        """The address that clients use."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.certificate else 'http'}://{host}:{self.port}"


@dataclass(frozen=True)
class Prepared:
    """What a start made: ``token`` is empty where nothing was made. ``key`` is public, in hex."""

    key: str
    token: str = ""


async def prepare(store: Store, *, now: float, new_admin: bool = False) -> Prepared:
    """Make the signer of the mesh, and an admin's token where nobody was ever let in, or with ``new_admin``.

    Both are audited. A store without tokens may be one whose people come by certificate or OpenID: where there is an
    identity, or an entry in the audit log, nothing is made.
    """
    await store.open()
    try:
        first, auditor = await _untouched(store), Auditor(store)
        key = await _signer(store, auditor)
        return Prepared(key, await _admin(store, auditor, first=first, now=now) if first or new_admin else "")
    finally:
        await store.close()


async def _untouched(store: Store) -> bool:
    known = [await store.records(MESH, TOKEN), await store.records(MESH, IDENTITY), await store.audit(limit=1)]
    return not any(known)


async def _signer(store: Store, auditor: Auditor) -> str:
    if await store.records(MESH, SIGNER):
        return (await signer_of(store)).public.hex()
    async with auditor.change(STARTING, "signer.create") as change:
        key = (await signer_of(store)).public.hex()
        change.after = {"key": key}
    return key


async def _admin(store: Store, auditor: Auditor, *, first: bool, now: float) -> str:
    token, text = mint("first-admin" if first else "new-admin", [Grant("admin")], now=now)
    async with auditor.change(STARTING, "token.create", scope=Scope("*", "*"), target=token.id) as change:
        await Tokens(store).add(token)
        change.after = token.shown()
    return text


def serve(
    settings: ServerSettings, bind: Bind, *, announce: Callable[[Prepared], None], new_admin: bool = False
) -> None:
    """Serve until the process is told to stop; streams get ``settings.drain`` seconds to leave. See ``prepare``.

    Raises ``StoreError`` where the store cannot be opened and ``ConfigurationError`` for files that cannot be read.
    """
    store = load(STORES, settings.store)(settings.store, poll_interval=settings.poll_interval)
    announce(asyncio.run(prepare(store, now=time.time(), new_admin=new_admin)))
    Bounded.most = allow_connections()
    app = create_app(settings)
    Leaving(uvicorn.Config(app, **_options(settings, bind)), app, settings).run()


class Leaving(uvicorn.Server):
    """A server that says that it goes before it stops listening, and ends with status 0."""

    def __init__(self, config: uvicorn.Config, app: FastAPI, settings: ServerSettings) -> None:
        super().__init__(config)
        self._app, self._settings = app, settings

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to leave; at the second signal leave at once."""
        del sig, frame
        self.force_exit = self.should_exit
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Send everyone away while this still listens, then stop as usual."""
        if not self.force_exit:
            exits: Exits = self._app.state.desk.exits
            await exits.leave(notice=self._settings.notice, patience=self._settings.drain)
        await super().shutdown(sockets)


class _Speaking(Bounded):
    """HTTP/1.1 that says in a problem also what was no request at all.

    It listens a while longer, for closing at once would reset the connection before the answer is read.
    """

    _answered = False

    def data_received(self, data: bytes) -> None:
        """Take bytes, and pass over what follows an answer of this kind."""
        if not self._answered:
            super().data_received(data)

    def send_400_response(self, msg: str) -> None:
        """Answer what cannot be read."""
        made = problem(400, "malformed", "Bad Request", f"no HTTP request: {msg}", headers=(("connection", "close"),))
        head = "".join(f"{name}: {value}\r\n" for name, value in made.headers)
        self.transport.write(f"HTTP/1.1 {made.status_line}\r\n{head}\r\n".encode() + made.body)
        self._answered = True
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.loop.call_later(LINGER, self.transport.close)


class _Bounded(_Speaking):
    """The same over httptools, which holds as long a head as it is sent; h11 has this bound itself."""

    _waiting = 0

    def data_received(self, data: bytes) -> None:
        """Take bytes, and no more than ``HEAD`` of which nothing becomes whole."""
        self._waiting += len(data)
        super().data_received(data)
        if self._waiting > HEAD and not self._answered:
            self.send_400_response("its head is too large")

    def on_headers_complete(self) -> None:
        """Begin to count anew."""
        self._waiting = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Begin to count anew; what a body may be is bounded elsewhere."""
        self._waiting = 0
        super().on_body(body)


def _options(settings: ServerSettings, bind: Bind) -> dict[str, Any]:
    options: dict[str, Any] = {
        "host": bind.host,
        "port": bind.port,
        "fd": bind.fd,
        "log_level": "warning",
        "http": _Bounded if hasattr(peers.Http, "on_headers_complete") else _Speaking,
        "ws": peers.WebSocket,
        "ws_max_size": settings.frame_size,
        "ws_per_message_deflate": False,
        "timeout_graceful_shutdown": max(1, round(settings.drain)),
        "server_header": False,
    }
    if bind.certificate:
        for path in filter(None, (bind.certificate, bind.private_key, bind.client_ca)):
            if not os.access(Path(path), os.R_OK):
                raise ConfigurationError(f"{path} cannot be read")
        options |= {"ssl_certfile": bind.certificate, "ssl_keyfile": bind.private_key or None}
        options |= {"ssl_ca_certs": bind.client_ca or None, "ssl_cert_reqs": 1 if bind.client_ca else 0}
    return options
