"""Running a replica: the process, its socket, and what a first start prepares."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn
from fastapi import FastAPI

from mcp_sdk._plugins import STORES, load
from mcp_sdk.context import MESH, Scope
from mcp_sdk.exceptions import ConfigurationError
from mcp_sdk.ports import Store
from mcp_sdk.server.access import peers
from mcp_sdk.server.access.callers import Caller, Grant
from mcp_sdk.server.access.identities import KIND as IDENTITY
from mcp_sdk.server.access.oidc import Oidc
from mcp_sdk.server.access.tokens import KIND as TOKEN
from mcp_sdk.server.access.tokens import Tokens, mint
from mcp_sdk.server.app import create_app
from mcp_sdk.server.auditor import Auditor
from mcp_sdk.server.connections import SPOKEN, allow_connections, allow_streams
from mcp_sdk.server.exits import Exits
from mcp_sdk.server.live import SIGNER, signer_of
from mcp_sdk.server.settings import ServerSettings

__all__ = ["Bind", "Prepared", "prepare", "serve", "uvicorn_options"]

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

    It holds no more streams than the process may have open files. Raises ``StoreError`` where the store cannot be
    opened and ``ConfigurationError`` for what cannot work; that is told before anything is made.
    """
    most = allow_connections()
    settings = replace(settings, streams=allow_streams(settings.streams, most))
    store = load(STORES, settings.store)(settings.store, poll_interval=settings.poll_interval)
    app = create_app(settings)
    config = _configured(app, settings, bind, most)
    announce(asyncio.run(prepare(store, now=time.time(), new_admin=new_admin)))
    _collect_seldom()
    Leaving(config, app, settings).run()


def _configured(app: FastAPI, settings: ServerSettings, bind: Bind, most: int) -> uvicorn.Config:
    """Give what uvicorn runs by, its certificates loaded; a start that fails later may have made a token already."""
    if settings.oidc_issuer:
        Oidc(settings.oidc_issuer, settings.oidc_audience)
    config = uvicorn.Config(app, **uvicorn_options(settings, bind, most))
    try:
        config.load()
    except OSError as error:
        raise ConfigurationError(_no_tls(bind, error)) from error
    return config


def _no_tls(bind: Bind, error: OSError) -> str:
    """Say which of the files it is: OpenSSL does not."""
    key, reason = bind.private_key or bind.certificate, getattr(error, "reason", None)
    for path in filter(None, (bind.certificate, bind.client_ca)):
        if not _holds_certificates(path):
            return f"{path} holds no certificate that can be read. Give a file in PEM that has one"
    if reason == "KEY_VALUES_MISMATCH":
        return f"{key} is not the private key of {bind.certificate}. Give the one that the certificate was made for"
    if reason:
        return f"{bind.certificate} and {key} cannot be used: {reason.replace('_', ' ').lower()}. Give other ones"
    mend = "Give its file, in PEM" if bind.private_key else "Give its file: --tls-private-key"
    return f"{key} holds no private key that can be read. {mend}; a key with a passphrase wants it typed at every start"


def _holds_certificates(path: str) -> bool:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(path)
    except OSError:
        return False
    return True


def _collect_seldom() -> None:
    """Look for cycles of garbage seldom: a replica holds many small values for long, and makes few cycles.

    By default Python looks after every 700 new objects, and again and again at all that is held.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


class Leaving(uvicorn.Server):
    """A server that says that it goes before it stops listening, and ends with status 0."""

    def __init__(self, config: uvicorn.Config, app: FastAPI, settings: ServerSettings) -> None:
        super().__init__(config)
        self._app, self._settings = app, settings

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to leave; at the second signal end the process as it is, for what is stored survives that."""
        del sig, frame
        if self.should_exit:
            os._exit(0)
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Send everyone away while this still listens, then stop as usual."""
        exits: Exits = self._app.state.desk.exits
        await exits.leave(notice=self._settings.notice, patience=self._settings.drain)
        await super().shutdown(sockets)


def uvicorn_options(settings: ServerSettings, bind: Bind, most: int) -> dict[str, Any]:
    """Give what a replica of ``most`` connections asks of uvicorn; raises ``ConfigurationError``."""
    options: dict[str, Any] = {
        "host": bind.host,
        "port": bind.port,
        "fd": bind.fd,
        "log_level": "warning",
        "http": partial(SPOKEN, head_time=settings.head_time, most=most),
        "ws": peers.WebSocket,
        "ws_max_size": settings.frame_size,
        "ws_per_message_deflate": False,
        "timeout_graceful_shutdown": max(1, round(settings.drain)),
        "server_header": False,
    }
    paths = [path for path in (bind.certificate, bind.private_key, bind.client_ca) if path]
    if paths and not bind.certificate:
        raise ConfigurationError(f"{paths[0]} does nothing without a certificate: all would be plain HTTP. Give one")
    for path in paths:
        if not os.access(Path(path), os.R_OK):
            raise ConfigurationError(f"{path} cannot be read")
    if bind.certificate:
        options |= {"ssl_certfile": bind.certificate, "ssl_keyfile": bind.private_key or None}
        options |= {"ssl_ca_certs": bind.client_ca or None, "ssl_cert_reqs": 1 if bind.client_ca else 0}
    return options
