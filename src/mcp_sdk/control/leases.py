"""The endpoints that one process announces, and keeps announced until it ends."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from mcp_sdk.control.loop import logger
from mcp_sdk.control.publisher import Backoff
from mcp_sdk.exceptions import StoreError, StoreUnavailable
from mcp_sdk.services import Endpoint

__all__ = ["Leases"]


class Leases:
    """Announces endpoints by ``register(endpoint, seconds)``, and takes them away by ``deregister(endpoint)``.

    ``spawn`` begins a task that ends with the process's part. Runs on the loop's thread.
    """

    def __init__(
        self,
        register: Callable[[Endpoint, float], Awaitable[object]],
        deregister: Callable[[Endpoint], Awaitable[object]],
        spawn: Callable[[Coroutine[Any, Any, Any]], None],
    ) -> None:
        self._register, self._deregister, self._spawn = register, deregister, spawn
        self._held: dict[tuple[str, str], Endpoint] = {}

    async def keep(self, endpoint: Endpoint, ttl: float) -> None:
        """Announce an endpoint for ``ttl`` seconds, when the control plane is back at the latest, and renew that."""
        key, backoff = (endpoint.service, endpoint.url), Backoff()
        renewed = key in self._held
        self._held[key] = endpoint
        while not await self._announce(endpoint, ttl):  # noqa: ASYNC110 - the plane, not an event, is waited for
            await asyncio.sleep(backoff.delay())
        if not renewed:
            self._spawn(self._renew(key, ttl))

    async def end(self) -> None:
        """Take the endpoints away; one that cannot be stays until its lease runs out."""
        for endpoint in self._held.values():
            try:
                await self._deregister(endpoint)
            except StoreError as error:
                logger.warning("%s stays registered until its lease runs out: %s", endpoint.url, error)

    async def _announce(self, endpoint: Endpoint, ttl: float) -> bool:
        try:
            await self._register(endpoint, ttl)
        except StoreUnavailable as error:
            logger.info("%s is not announced, and it is tried again: %s", endpoint.url, error)
            return False
        return True

    async def _renew(self, key: tuple[str, str], ttl: float) -> None:
        while True:
            await asyncio.sleep(ttl / 3 * (0.9 + secrets.randbelow(200) / 1000))
            try:
                await self._announce(self._held[key], ttl)
            except Exception as error:  # noqa: BLE001 - it is done again
                logger.warning("the lease of %s was not renewed: %s", self._held[key].url, error)
