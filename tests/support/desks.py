"""A replica in this process, for tests that need no socket."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
from fastapi import FastAPI

from mcp_sdk.ports import Store
from mcp_sdk.server.access.callers import Grant
from mcp_sdk.server.access.tokens import mint
from mcp_sdk.server.app import create_app
from mcp_sdk.server.settings import ServerSettings
from mcp_sdk.stores.memory import MemoryStore

__all__ = ["Served", "served", "served_by_two"]


class Served:
    """One replica, and who asks it."""

    def __init__(self, app: FastAPI, store: Store) -> None:
        self.app, self.store = app, store
        self.desk = app.state.desk

    async def client(self, *grants: Grant, name: str = "test", service: str = "") -> httpx.AsyncClient:
        """Give a client with a new token of its own."""
        token, text = mint(name, grants, service=service, now=time.time())
        await self.desk.hub.tokens.add(token)
        return self.holding(text)

    def holding(self, text: str) -> httpx.AsyncClient:
        """Give a client with a token."""
        headers = {"authorization": f"Bearer {text}"} if text else {}
        return httpx.AsyncClient(
            transport=httpx.ASGITransport(self.app), base_url="http://test", headers=headers, timeout=20
        )


def served_by_two(work: Callable[[Served, Served], Awaitable[None]], store: Store | None = None) -> None:
    """Do ``work`` with two replicas over one store."""

    async def run() -> None:
        held = store or MemoryStore()
        apps = [create_app(ServerSettings(), held) for _ in range(2)]
        async with (
            apps[0].router.lifespan_context(apps[0]),
            apps[1].router.lifespan_context(apps[1]),
            asyncio.timeout(30),
        ):
            await work(Served(apps[0], held), Served(apps[1], held))

    asyncio.run(run())


def served(work: Callable[[Served], Awaitable[None]], store: Store | None = None, **settings: Any) -> None:
    """Do ``work`` with a replica."""

    async def run() -> None:
        held = store or MemoryStore()
        app = create_app(ServerSettings(**settings), held)
        async with app.router.lifespan_context(app), asyncio.timeout(30):
            await work(Served(app, held))

    asyncio.run(run())
