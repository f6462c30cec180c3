"""Calls of a service that the middleware guards."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx

from mcp_sdk import Mesh
from mcp_sdk.middleware import MeshMiddleware


def call(mesh: Mesh, path: str) -> httpx.Response:
    """Ask an application behind the middleware of a mesh, which answers 204 to whatever it is asked."""

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(MeshMiddleware(app, mesh=mesh))
        async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
            return await client.get(path)

    return asyncio.run(ask())
