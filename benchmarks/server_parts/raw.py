"""What each kind of store's server takes by itself: the same entries into one plain place, acknowledged, and no more.

No look at what is there, no compare-and-set, no duplicates recognised, nobody told. One transaction, pipeline or round
of acknowledgements a batch, as durable as the store is.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

from mcp_sdk.context import Transition

Put: TypeAlias = Callable[[Sequence[Any]], Awaitable[object]]
_COLUMNS = (
    "model, entity_id, event_id, from_state, to_state, attributes, outcome, base_revision, batch_id, namespace, "
    "environment, observed_at, source, operation, cause, duration, trace_id"
)


def rows(transitions: Sequence[Transition]) -> list[tuple[Any, ...]]:
    """Give a row each: made before the clock starts."""
    said = [one.to_dict() for one in transitions]
    return [tuple(json.dumps(each[name]) if name == "attributes" else each[name] for name in _NAMES) for each in said]


_NAMES = _COLUMNS.split(", ")


def bodies(transitions: Sequence[Transition]) -> list[bytes]:
    """Give a message each: made before the clock starts."""
    return [json.dumps(one.to_dict()).encode() for one in transitions]


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[tuple[str, Callable[[Sequence[Transition]], Sequence[Any]], Put]]:
    """Give what the reference is called, what makes what it puts, and what puts a batch of that."""
    ways = {"sqlite": _sqlite, "postgresql": _postgres, "redis": _redis, "nats": _nats}
    async with ways[url.partition(":")[0]](url) as (name, make, put):
        yield name, make, put


@asynccontextmanager
async def _sqlite(url: str) -> AsyncIterator[Any]:
    connection = sqlite3.connect(url.partition(":///")[2] + ".raw", isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(f"CREATE TABLE raw (seq INTEGER PRIMARY KEY, {_COLUMNS})")
    marks = ", ".join("?" * len(_NAMES))

    async def put(batch: Sequence[Any]) -> None:
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(f"INSERT INTO raw ({_COLUMNS}) VALUES ({marks})", batch)
        connection.execute("COMMIT")

    yield "INSERT", rows, put
    connection.close()


@asynccontextmanager
async def _postgres(url: str) -> AsyncIterator[Any]:
    import psycopg  # noqa: PLC0415 - of one store of several

    table = f"mcp_sdk_raw_{uuid.uuid4().hex[:8]}"
    connection = await psycopg.AsyncConnection.connect(url.partition("?")[0], autocommit=True)
    columns = ", ".join(f"{name} text" for name in _NAMES)
    await connection.execute(f"CREATE TABLE {table} (seq bigserial PRIMARY KEY, {columns})")

    async def put(batch: Sequence[Any]) -> None:
        marks = ",".join([f"({','.join(['%s::text'] * len(_NAMES))})"] * len(batch))
        values = [value for row in batch for value in row]
        await connection.execute(f"INSERT INTO {table} ({_COLUMNS}) VALUES {marks}", values)

    yield "INSERT", rows, put
    await connection.execute(f"DROP TABLE {table}")
    await connection.close()


@asynccontextmanager
async def _redis(url: str) -> AsyncIterator[Any]:
    from redis.asyncio import Redis  # noqa: PLC0415 - as above

    client, key = Redis.from_url(url.partition("?")[0]), f"mcp_sdk_raw_{uuid.uuid4().hex[:8]}"

    async def put(batch: Sequence[Any]) -> None:
        async with client.pipeline(transaction=False) as pipeline:
            for body in batch:
                pipeline.xadd(key, {"t": body})
            await pipeline.execute()

    yield "XADD", bodies, put
    await client.delete(key)
    await client.aclose()


@asynccontextmanager
async def _nats(url: str) -> AsyncIterator[Any]:
    import nats  # noqa: PLC0415 - as above

    client, name = await nats.connect(url.rpartition("/")[0]), f"mcp_sdk_raw_{uuid.uuid4().hex[:8]}"
    stream = client.jetstream()
    await stream.add_stream(name=name, subjects=[name])

    async def put(batch: Sequence[Any]) -> None:
        await asyncio.gather(*[await stream.publish_async(name, body) for body in batch])

    yield "publish", bodies, put
    await stream.delete_stream(name)
    await client.close()
