"""Wakes the watchers of one handle: a connection that listens, and says only that there is something to read.

What a notification says is never believed and a lost one loses nothing, for the log is the truth: after connecting
anew everybody looks, and between notifications everybody looks now and then.
"""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from typing import TypeAlias

import psycopg
from psycopg import sql

from mcp_sdk.stores.echoes import Echo, Echoes
from mcp_sdk.tasks import ended
from mcp_sdk_postgres.connections import Connections

__all__ = ["Listener", "Place"]

CALM = 5.0
"""Seconds between looks while the listener hears; ``poll_interval`` while it does not."""
LONGEST = 5.0
"""Seconds between attempts to connect at most."""
_random = random.SystemRandom()
Place: TypeAlias = tuple[str, int]
"""A position in the log: the schema's identity, and a number."""


class Listener:
    """Begins with the first watch and ends with the last."""

    def __init__(self, connections: Connections, echoes: Echoes[Place], poll_interval: float) -> None:
        self._connections, self._echoes = connections, echoes
        self._poll_interval = poll_interval
        self._task: asyncio.Task[None] | None = None
        self._hears = False

    def join(self) -> Echo[Place]:
        """Give the echo of a watch that begins; it is woken whenever there may be something to read."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())
        return self._echoes.join()

    async def leave(self, echo: Echo[Place]) -> None:
        """Let a watch go; the connection closes with the last."""
        self._echoes.leave(echo)
        if not self._echoes.wanted:
            await self.close()

    @property
    def interval(self) -> float:
        """The seconds after which a watch looks that was not woken."""
        return max(CALM, self._poll_interval) if self._hears else self._poll_interval

    async def close(self) -> None:
        """Close the connection, and have every watch look once more."""
        self._echoes.wake()
        task, self._task = self._task, None
        if task is not None:
            await ended([task])

    async def _run(self) -> None:
        attempt = 0
        while True:
            with suppress(psycopg.Error, OSError):
                async with await self._connections.dedicated() as connection:
                    channel = sql.Identifier(self._connections.address.channel)
                    await connection.execute(sql.SQL("LISTEN {}").format(channel))
                    self._hears, attempt = True, 0
                    self._echoes.wake()
                    async for _ in connection.notifies():
                        self._echoes.wake()
            self._hears = False
            self._echoes.wake()
            attempt += 1
            await asyncio.sleep(_random.uniform(0, min(LONGEST, 0.1 * 2**attempt)))
