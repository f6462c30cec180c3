"""Transitions a second that the store on PostgreSQL takes, beside raw inserts of the same rows in the same run.

    python integrations/postgres/benchmarks/append.py [--url URL] [--seconds 3] [--json FILE]

``raw log`` is a multi-row INSERT of the same log rows into a plain table with a primary key, and ``raw rows`` the same
with the entities' rows besides, each one transaction a batch on a connection that does nothing else: no look at what
is there, no compare-and-set, no index by event, no wake-up. p99 is in milliseconds, of a whole call.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path

import psycopg
from mcp_sdk_postgres import PostgresStore
from mcp_sdk_postgres.address import Address, read
from mcp_sdk_postgres.rows import ENTITY_COLUMNS, LOG_COLUMNS, Packer, entity_row, log_row

from mcp_sdk.context import Transition
from mcp_sdk.stores.ledger import Ledger

TABLES = """
CREATE TABLE {0}.raw_log (seq bigserial PRIMARY KEY, scope integer, model text, entity_id text, event_id text,
  status text, revision bigint, from_state text, to_state text, attributes text, outcome text, base_revision bigint,
  batch_id text, observed_at text, source text, operation text, cause text, duration double precision, trace_id text,
  context text);
CREATE TABLE {0}.raw_entities (scope integer, model text, entity_id text, state text, attributes text, revision bigint,
  observed_at text, source text, entered_at text, PRIMARY KEY (scope, model, entity_id));
"""


def transitions(size: int) -> list[Transition]:
    return [
        Transition("order", uuid.uuid4().hex, "created", uuid.uuid4().hex, attributes={"amount": 1050, "region": "eu"})
        for _ in range(size)
    ]


async def measured(
    call: Callable[[list[Transition]], Awaitable[object]], size: int, seconds: float
) -> dict[str, float]:
    times = []
    for _ in range(10):
        await call(transitions(size))
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        batch = transitions(size)
        begin = time.perf_counter()
        await call(batch)
        times.append(time.perf_counter() - begin)
    times.sort()
    return {"rate": size * len(times) / sum(times), "p99_ms": times[int(len(times) * 0.99)] * 1000}


async def raw(connection: psycopg.AsyncConnection, address: Address, batch: list[Transition], *, both: bool) -> None:
    ledger, pack = Ledger({}, {}), Packer()
    ledger.settle(batch)
    tables = [(f"raw_log (scope, {LOG_COLUMNS})", [log_row(1, entry, pack) for entry in ledger.entries])]
    if both:
        entities = [entity_row(1, context, pack) for context in ledger.moved.values()]
        tables.append((f"raw_entities (scope, {ENTITY_COLUMNS})", entities))
    async with connection.transaction():
        for table, rows in tables:
            marks = ",".join([f"({','.join(['%s'] * len(rows[0]))})"] * len(rows))
            values = [value for row in rows for value in row]
            await connection.execute(f"INSERT INTO {address.quoted}.{table} VALUES {marks}", values)


async def main(url: str, seconds: float) -> dict[str, dict[str, dict[str, float]]]:
    mark = f"bench_{uuid.uuid4().hex[:8]}"
    address = read(f"{url}?schema={mark}")
    store = PostgresStore(address)
    await store.open()
    connection = await psycopg.AsyncConnection.connect(**address.libpq, autocommit=True)
    figures: dict[str, dict[str, dict[str, float]]] = {}
    try:
        await connection.execute(TABLES.format(address.quoted))
        ways = {
            "raw log": lambda batch: raw(connection, address, batch, both=False),
            "raw rows": lambda batch: raw(connection, address, batch, both=True),
            "store": store.append,
        }
        for size in (1, 100, 500):
            figures[str(size)] = {name: await measured(way, size, seconds) for name, way in ways.items()}
            show(size, figures[str(size)])
        gathered = await measured(lambda batch: together(store, batch), 100, seconds)
        figures["100 callers"] = {"store": gathered}
        print(f"100 callers at once, one each: {gathered['rate']:8.0f}/s  p99 {gathered['p99_ms']:.1f} ms")
    finally:
        await store.close()
        await connection.execute(f"DROP SCHEMA {address.quoted} CASCADE")
        await connection.close()
    return figures


async def together(store: PostgresStore, batch: list[Transition]) -> None:
    await asyncio.gather(*(store.append([transition]) for transition in batch))


def show(size: int, row: dict[str, dict[str, float]]) -> None:
    cells = "  ".join(f"{name} {cell['rate']:8.0f}/s p99 {cell['p99_ms']:6.1f} ms" for name, cell in row.items())
    parts = [f"{row['store']['rate'] / row[name]['rate']:.0%} of {name}" for name in ("raw log", "raw rows")]
    print(f"{size:4} a call: {cells}  ({', '.join(parts)})", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="postgresql://postgres@127.0.0.1:5432/test")
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found = asyncio.run(main(options.url, options.seconds))
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n")
