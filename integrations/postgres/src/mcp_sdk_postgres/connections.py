"""The connections of one handle in one event loop of one process.

psycopg's asynchronous pool belongs to the loop that opened it, and a connection to the process that made it: closing an
inherited one would say good-bye in the parent's name. So ``Connections`` are made where they are used first, and left
alone in a forked child.
"""

from __future__ import annotations

import asyncio
import math
import os
import select
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeAlias

import psycopg
from psycopg import AsyncConnection
from psycopg.pq import TransactionStatus
from psycopg_pool import AsyncConnectionPool, PoolClosed, PoolTimeout

from mcp_sdk_postgres.address import Address
from mcp_sdk_postgres.failures import failures, unavailable

__all__ = ["Connection", "Connections", "pipelined", "transaction"]

Connection: TypeAlias = AsyncConnection[tuple[Any, ...]]

# Plans are made while tables are small and kept when they are large, so the ways that suit small ones are ruled out.
# No limit of statements or idle transactions counts while the rest of a pipeline is awaited, which never comes from a
# client that is cut off: only by probing the connection does the server learn of it, and let go of the locks.
_SETTINGS = """
SELECT set_config('statement_timeout', %s, false), set_config('idle_in_transaction_session_timeout', %s, false),
  set_config('enable_seqscan', 'off', false), set_config('enable_hashjoin', 'off', false),
  set_config('enable_mergejoin', 'off', false), set_config('enable_material', 'off', false),
  set_config('enable_bitmapscan', 'off', false),
  set_config('jit', 'off', false),
  set_config('tcp_keepalives_idle', %s, false), set_config('tcp_keepalives_interval', %s, false),
  set_config('tcp_keepalives_count', %s, false), set_config('tcp_user_timeout', %s, false),
  set_config('synchronous_commit',
    CASE current_setting('synchronous_commit') WHEN 'off' THEN 'on'
    ELSE current_setting('synchronous_commit') END, false)
"""

PROBES = 3
"""Of a connection that is silent, before it is given up."""
AGAIN = 0.5
"""Seconds after which the pool is asked again."""
_BEGIN = "BEGIN ISOLATION LEVEL READ COMMITTED"


class Connections:
    """A pool, opened with its first use; another takes its place when no connection can be made.

    The pool by itself would go on trying for whoever waits. But whoever waits here tries again in its own time, and
    until then is better served by the reason.
    """

    def __init__(self, address: Address, name: str) -> None:
        self.address = address
        self.name = name
        self._reason = ""
        self._pool: AsyncConnectionPool[Connection] | None = None
        self._opening = asyncio.Lock()
        self._closing: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def use(self) -> AsyncIterator[Connection]:
        """Lend a connection in autocommit mode; raises ``StoreUnavailable``, ``StoreError``, and ``Conflict``.

        A server that stops answering is given up after the statement's time and a second: the socket is shut down, so
        that whoever waits on it hears of its end. (Cancelling would ask that same server.)
        """
        with failures(self.address):
            pool = await self._opened()
            connection = await self._borrow(pool)
            watchdog = asyncio.get_running_loop().call_later(self.address.timeout + 1, _shut, connection)
            try:
                yield connection
            finally:
                try:
                    await _settled(connection)
                finally:
                    watchdog.cancel()
                    await pool.putconn(connection)

    async def dedicated(self) -> Connection:
        """Give a connection of its own, which the caller closes."""
        return await AsyncConnection.connect(**self._libpq(), autocommit=True)

    async def close(self) -> None:
        """Close what is idle, and the rest when it comes back."""
        pool, self._pool = self._pool, None
        if pool is not None:
            await pool.close()
        if self._closing:
            await asyncio.wait(self._closing)

    async def _borrow(self, pool: AsyncConnectionPool[Connection]) -> Connection:
        """Give a connection of the pool.

        It is asked again and again, for it forgets whoever waits for a connection that was cut while it was made.
        """
        clock = asyncio.get_running_loop().time
        deadline = clock() + pool.timeout
        try:
            while clock() < deadline - AGAIN:
                with suppress(PoolTimeout):
                    return await pool.getconn(AGAIN)
            return await pool.getconn(AGAIN)
        except PoolTimeout as late:
            reason = self._reason or f"all {self.address.pool_size} connections were busy for {pool.timeout:g} s."
            raise unavailable(self.address, reason) from late
        except PoolClosed as closed:
            raise unavailable(self.address, self._reason or "the store was closed.") from closed

    async def _opened(self) -> AsyncConnectionPool[Connection]:
        async with self._opening:
            if self._pool is None:
                pool = self._made()
                await pool.open()
                self._pool = pool
            return self._pool

    def _made(self) -> AsyncConnectionPool[Connection]:
        return AsyncConnectionPool(
            kwargs={**self._libpq(), "autocommit": True},
            connection_class=_noting(self._note),
            min_size=0,
            max_size=self.address.pool_size,
            open=False,
            configure=self._configure,
            check=_check,
            name=self.name,
            timeout=self.address.timeout,
            reconnect_timeout=0,
            reconnect_failed=self._replace,
        )

    async def _replace(self, pool: AsyncConnectionPool[Any]) -> None:
        """Have those that wait for a connection hear that there is none; called on the pool's own worker."""
        if self._pool is pool:
            self._pool = None
        closing = asyncio.get_running_loop().create_task(pool.close())
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    def _libpq(self) -> dict[str, Any]:
        return {**self.address.libpq, "application_name": self.name}

    def _note(self, reason: str) -> None:
        self._reason = reason

    async def _configure(self, connection: Connection) -> None:
        try:
            await connection.execute(_SETTINGS, _settings(self.address.timeout))
        except psycopg.Error as error:
            self._note(str(error))
            raise


def _settings(timeout: float) -> tuple[str, ...]:
    """Give the values of ``_SETTINGS``: seconds of probes are whole, the rest is in milliseconds."""
    limit, silent, between = int(timeout * 1000), math.ceil(timeout), math.ceil(timeout / 5)
    return tuple(map(str, (limit, limit, silent, between, PROBES, (silent + PROBES * between) * 1000)))


@asynccontextmanager
async def transaction(connection: Connection) -> AsyncIterator[None]:
    """Be in a transaction during the block; what it leaves open by an error, ``use`` rolls back."""
    await connection.execute(_BEGIN)
    yield
    await connection.execute("COMMIT")


@asynccontextmanager
async def pipelined(connection: Connection) -> AsyncIterator[None]:
    """Be in a transaction whose statements travel together, its begin and end too, until a result is fetched."""
    async with connection.pipeline(), transaction(connection):
        yield


async def _settled(connection: Connection) -> None:
    if connection.info.transaction_status in (TransactionStatus.INTRANS, TransactionStatus.INERROR):
        with suppress(psycopg.Error):
            await connection.execute("ROLLBACK")


def _shut(connection: Connection) -> None:
    with suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(connection.fileno())) as held:
        held.shutdown(socket.SHUT_RDWR)


async def _check(connection: Connection) -> None:
    """Raise when the server has said something on an idle connection and it was its end; asks no healthy one."""
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    if poll.poll(0):
        await AsyncConnectionPool.check_connection(connection)


def _noting(note: Callable[[str], None]) -> type[Connection]:
    """Give a class of connections that tells why none could be made: the pool itself says only that time is up."""

    class Noting(AsyncConnection[tuple[Any, ...]]):
        @classmethod
        async def connect(cls, *args: Any, **kwargs: Any) -> Any:
            try:
                connection = await super().connect(*args, **kwargs)
            except psycopg.Error as error:
                note(str(error))
                raise
            note("")
            return connection

    return Noting
