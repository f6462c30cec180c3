"""The connections to a server or a cluster, of one process and one event loop at a time.

Nothing is sent twice: whether a write that got no answer was done only its caller can tell, by asking again.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from redis.asyncio import BlockingConnectionPool, Connection, ConnectionPool, Redis, RedisCluster, SSLConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError

from mcp_sdk.exceptions import StoreUnavailable
from mcp_sdk.stores.echoes import Echoes
from mcp_sdk.tasks import ended
from mcp_sdk_redis.errors import failures
from mcp_sdk_redis.options import Options
from mcp_sdk_redis.scripts import Script

__all__ = ["Link", "Position"]

CONNECTIONS = 16
Client: TypeAlias = Any
"""A ``redis.asyncio.Redis`` or ``RedisCluster``; their stubs share no base with ``execute_command``."""
Position: TypeAlias = tuple[str, int, int]
"""The identity of a store, and the two numbers of an id of its stream."""

_abandoned: list[object] = []


@dataclass
class _Lines:
    """What belongs to one process and loop: the client for calls, and the one whose answers may take long."""

    owner: tuple[int, int]
    calls: Client
    waits: Client
    waiting: set[asyncio.Task[Any]] = field(default_factory=set)
    echoes: Echoes[Position] = field(default_factory=Echoes)


class Link:
    """Runs commands and scripts; raises ``StoreUnavailable`` and ``StoreError``.

    Connections are made when they are needed, and again after a failure. A forked child makes its own and leaves the
    parent's alone, for closing them would tell the parent's event loop. ``name`` is the clients' name in
    ``CLIENT LIST``.
    """

    def __init__(self, options: Options, name: str) -> None:
        self._options, self._name = options, name
        self._lines: _Lines | None = None
        self._closed = False

    def open(self) -> None:
        """Let calls connect, after ``close`` again."""
        self._closed = False

    @property
    def echoes(self) -> Echoes[Position]:
        """What is written over these connections, for the watches over them."""
        return self._here().echoes

    async def run(self, script: Script, keys: Sequence[str], *arguments: str | bytes | float) -> Any:
        """Run a script."""
        client = self._here().calls
        words = (len(keys), *keys, *arguments)
        async with self._bounded():
            try:
                return await client.execute_command("EVALSHA", script.digest, *words)
            except NoScriptError:
                return await client.execute_command("EVAL", script.text, *words)

    async def write(self, script: Script, keys: Sequence[str], *arguments: str | bytes | float) -> Any:
        """Run a script that writes; answer when as many replicas have it as the options want."""
        if not self._options.replicas:
            return await self.run(script, keys, *arguments)
        words = (len(keys), *keys, *arguments)
        answer, reached = await self._replicated("EVALSHA", script.digest, *words)
        if isinstance(answer, NoScriptError):
            answer, reached = await self._replicated("EVAL", script.text, *words)
        with failures(self._options.address):
            for told in (answer, reached):
                if isinstance(told, Exception):
                    raise told
        if reached < self._options.replicas:
            raise StoreUnavailable(
                f"{self._options.address} wrote, but {reached} replicas have it and not {self._options.replicas}. "
                "Asking again is safe."
            )
        return answer

    async def _replicated(self, *words: Any) -> tuple[Any, Any]:
        async with self._bounded():
            # WAIT speaks of the writes of its own connection
            pipeline = self._here().calls.pipeline(transaction=False)
            pipeline.execute_command(*words)
            pipeline.execute_command("WAIT", self._options.replicas, int(self._options.timeout * 500))
            answer, reached = await pipeline.execute(raise_on_error=False)
        return answer, reached

    async def command(self, *words: str | bytes | int) -> Any:
        """Run one command that names a key."""
        async with self._bounded():
            return await self._here().calls.execute_command(*words)

    async def settings(self, key: str, *names: str) -> Mapping[str, str]:
        """Give settings of the server that holds a key; raises what it refuses with."""
        client = self._here().calls
        there = {"target_nodes": client.get_node_from_key(key)} if self._options.cluster else {}
        async with self._bounded():
            found: Mapping[str, str] = await client.execute_command("CONFIG GET", *names, **there)
        return found

    async def wait(self, *words: str | bytes | int) -> None:
        """Run a command that blocks for half the timeout at most, until it answers or the link is closed."""
        lines = self._here()
        task = asyncio.create_task(lines.waits.execute_command(*words))
        lines.waiting.add(task)
        try:
            async with self._bounded():
                await asyncio.wait({task})
                if not task.cancelled():
                    task.result()
        finally:
            lines.waiting.discard(task)
            await ended([task])

    async def close(self) -> None:
        """End what waits, and close the connections of this process and loop."""
        self._closed = True
        lines, self._lines = self._lines, None
        if lines is None or lines.owner != _owner():
            _abandoned.append(lines)
            return
        await ended(lines.waiting)
        for client in (lines.calls, lines.waits):
            with suppress(Exception):  # what cannot be closed is gone
                await client.aclose()

    @asynccontextmanager
    async def _bounded(self) -> AsyncIterator[None]:
        # redis-py bounds each step of a call, and its older versions not all of them
        with failures(self._options.address):
            try:
                async with asyncio.timeout(self._options.timeout):
                    yield
            except TimeoutError:
                raise TimeoutError(f"no answer within {self._options.timeout:g} s") from None

    def _here(self) -> _Lines:
        if self._closed:
            raise StoreUnavailable(f"the store at {self._options.address} is closed. Open it again.")
        if self._lines is None or self._lines.owner != _owner():
            if self._lines is not None:
                _abandoned.append(self._lines)
            self._lines = _Lines(_owner(), *self._clients())
        return self._lines

    def _clients(self) -> tuple[Client, Client]:
        options = self._options
        common = {
            "username": options.username or None,
            "password": options.password or None,
            "client_name": self._name,
            "socket_timeout": None,  # calls are bounded here: redis-py's own bound may lose a cancellation
            "socket_connect_timeout": options.timeout,
            "protocol": 2,
            "retry": Retry(NoBackoff(), 0),
            **(options.tls if options.secure else {}),
        }
        if options.cluster:
            client = RedisCluster(host=options.host, port=options.port, ssl=options.secure, **common)
            return client, client
        common |= {"host": options.host, "port": options.port, "db": options.database}
        common["connection_class"] = SSLConnection if options.secure else Connection
        calls = BlockingConnectionPool(max_connections=CONNECTIONS, timeout=options.timeout, **common)
        return Redis.from_pool(calls), Redis.from_pool(ConnectionPool(**common))


def _owner() -> tuple[int, int]:
    return os.getpid(), id(asyncio.get_running_loop())
