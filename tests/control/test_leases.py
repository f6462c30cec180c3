"""The endpoints of one process: announced, renewed, and taken away."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from mcp_sdk.control.leases import Leases
from mcp_sdk.exceptions import StoreError, StoreUnavailable
from mcp_sdk.services import Endpoint
from mcp_sdk.tasks import ended

HERE = Endpoint("shop", "http://127.0.0.1:1")


class Registry:
    """Takes announcements as a store does; ``errors`` are raised first, one a call."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.announced: list[Endpoint] = []
        self.gone: list[Endpoint] = []
        self.tasks: set[asyncio.Task[Any]] = set()
        self.leases = Leases(self.register, self.deregister, self.spawn)

    async def register(self, endpoint: Endpoint, ttl: float) -> None:
        if self.errors:
            raise self.errors.pop(0)
        self.announced.append(endpoint)

    async def deregister(self, endpoint: Endpoint) -> None:
        self.gone.append(endpoint)
        if endpoint.url.endswith("2"):
            raise StoreError("cannot")

    def spawn(self, work: Coroutine[Any, Any, Any]) -> None:
        self.tasks.add(asyncio.create_task(work))

    async def until(self, announcements: int) -> None:
        async with asyncio.timeout(10):
            while len(self.announced) < announcements:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.001)


def test_it_is_announced_when_the_plane_is_back() -> None:
    """Who announces an endpoint while the control plane is away waits until it is there."""

    async def run() -> None:
        registry = Registry(StoreUnavailable("away"), StoreUnavailable("away"))
        await registry.leases.keep(HERE, 60)
        assert registry.announced == [HERE]
        await ended(registry.tasks)

    asyncio.run(run())


def test_a_lease_is_renewed_whatever_happens() -> None:
    """A renewal that fails, expected or not, is not the last."""

    async def run() -> None:
        registry = Registry()
        await registry.leases.keep(HERE, 0.01)
        registry.errors = [StoreUnavailable("away"), StoreError("full"), RuntimeError("bug")]
        await registry.until(3)
        await ended(registry.tasks)

    asyncio.run(run())


def test_what_is_announced_again_is_renewed_once() -> None:
    """The newest form of an endpoint is what is renewed, by one task."""

    async def run() -> None:
        registry, heavier = Registry(), Endpoint("shop", HERE.url, weight=5)
        await registry.leases.keep(HERE, 0.01)
        await registry.leases.keep(heavier, 0.01)
        assert len(registry.tasks) == 1
        await registry.until(4)
        assert registry.announced[-1] == heavier
        await ended(registry.tasks)

    asyncio.run(run())


def test_all_are_taken_away_at_the_end() -> None:
    """One that cannot be taken away does not keep the others."""

    async def run() -> None:
        registry = Registry()
        every = [Endpoint("shop", f"http://127.0.0.1:{port}") for port in (2, 3)]
        for endpoint in every:
            await registry.leases.keep(endpoint, 60)
        await registry.leases.end()
        assert registry.gone == every
        await ended(registry.tasks)

    asyncio.run(run())
