"""Asking a control-plane server one thing, before or beside a mesh that is connected to it."""

from __future__ import annotations

import asyncio
from typing import TypeVar

from mcp_sdk.clients import api
from mcp_sdk.clients.replicas import Replicas
from mcp_sdk.config import Config
from mcp_sdk.exceptions import StoreUnavailable

__all__ = ["ask", "greet", "is_server", "with_mend"]

T = TypeVar("T")


def is_server(config: Config) -> bool:
    """Tell whether the control plane is a server, and not a store."""
    return config.control_plane.startswith(("http://", "https://"))


def ask(config: Config, call: api.Call[T]) -> T:
    """Make one call on a server; raises ``StoreUnavailable`` where none answers, ``StoreError`` for a refusal."""
    urls = [part.strip().rstrip("/") for part in config.control_plane.split(",") if part.strip()]

    async def asked() -> T:
        replicas = Replicas(urls, config)
        try:
            return await replicas.ask(call)
        finally:
            await replicas.close()

    return asyncio.run(asked())


def greet(config: Config) -> None:
    """Have a server say who it is, so that what keeps it from answering is said at once, and how to mend it."""
    try:
        ask(config, api.about())
    except StoreUnavailable as error:
        raise StoreUnavailable(with_mend(error, config)) from error


def with_mend(error: StoreUnavailable, config: Config) -> str:
    """Say that no server answers, and what may be done about it."""
    return f"{str(error).rstrip('.')}. {_mend(str(error), config)}"


def _mend(said: str, config: Config) -> str:
    if "CERTIFICATE_VERIFY_FAILED" in said:
        return "The certificate is not of a CA that is trusted here: set MCP_SDK_TLS_CA to the CA's file"
    if "WRONG_VERSION_NUMBER" in said or "record layer" in said.lower():
        return "It speaks no TLS: is it http://?"
    broken_off = any(name in said for name in ("RemoteProtocolError", "ReadError"))
    if broken_off and config.control_plane.startswith("http://"):
        return "It speaks another protocol, TLS perhaps: is it https://?"
    if "certificate required" in said.lower():
        return "It wants a client certificate: set MCP_SDK_TLS_CERTIFICATE and MCP_SDK_TLS_PRIVATE_KEY"
    if "answered 4" in said:
        return "Is this the address of a control plane, as mcpctl serve prints it?"
    return "Is the address right, and the server running? Start one with: mcpctl serve"
