"""What the stores hold per second, and how soon other processes see it, beside SQLite by hand in the same run.

The hand-written references have the same durability (write-ahead log, ``synchronous=FULL``): ``insert`` is one
``executemany`` into a bare log table with a unique event id; ``upsert`` reads the entities, writes them back and logs,
with the same indexes, in one transaction, without compare-and-set, batches, duplicates or watchers. Usage::

    python benchmarks/stores.py [--json FILE] [--count N]
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import random
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mcp_sdk.context import EntityRef, Scope, Transition
from mcp_sdk.ports import Store
from mcp_sdk.stores.memory import MemoryStore
from mcp_sdk.stores.sqlite import SqliteStore

WATCH_BUDGET_MS = 100.0
ROUNDS = 3
TABLES = """
CREATE TABLE plain (seq INTEGER PRIMARY KEY AUTOINCREMENT, event_id TEXT UNIQUE, body TEXT);
CREATE TABLE entities (model TEXT, entity_id TEXT, state TEXT, body TEXT, revision INTEGER,
  PRIMARY KEY (model, entity_id)) WITHOUT ROWID;
CREATE INDEX entities_state ON entities (model, state, entity_id);
CREATE TABLE log (seq INTEGER PRIMARY KEY AUTOINCREMENT, event_id TEXT UNIQUE, model TEXT, entity_id TEXT, body TEXT);
CREATE INDEX log_entity ON log (entity_id, model);
"""


def transitions(count: int) -> list[Transition]:
    """Give transitions that create a third as many entities and then move them."""
    return [
        Transition(
            "order",
            f"o-{number % max(count // 3, 1)}",
            ("created", "paid", "shipped")[number * 3 // count],
            uuid.uuid4().hex,
            attributes={"amount": number, "region": "eu"},
            source="shop",
            operation="POST /orders",
        )
        for number in range(count)
    ]


def chunks(sent: list[Transition], size: int) -> Iterator[list[Transition]]:
    """Cut into batches."""
    return (sent[start : start + size] for start in range(0, len(sent), size))


def ours(place: Path, sent: list[Transition], size: int, *, memory: bool = False) -> float:
    """Append through the store; give the seconds it took."""

    async def append(store: Store) -> float:
        await store.open()
        began = time.perf_counter()
        for batch in chunks(sent, size):
            await store.append(batch)
        took = time.perf_counter() - began
        await store.close()
        return took

    return asyncio.run(append(MemoryStore() if memory else SqliteStore(place / f"{uuid.uuid4().hex}.db")))


def by_hand(
    place: Path, sent: list[Transition], size: int, work: Callable[[sqlite3.Connection, list[Any]], None]
) -> float:
    """Do ``work`` for each batch in a transaction; give the seconds it took."""
    rows = [(t.event_id, t.model, t.entity_id, t.to_state, json.dumps(t.to_dict())) for t in sent]
    with closing(sqlite3.connect(place / f"{uuid.uuid4().hex}.db", isolation_level=None)) as db:
        db.executescript(f"PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; {TABLES}")
        began = time.perf_counter()
        for start in range(0, len(rows), size):
            db.execute("BEGIN IMMEDIATE")
            work(db, rows[start : start + size])
            db.execute("COMMIT")
        return time.perf_counter() - began


def insert(db: sqlite3.Connection, rows: list[Any]) -> None:
    """Log and no more."""
    db.executemany("INSERT INTO plain (event_id, body) VALUES (?, ?)", ((row[0], row[4]) for row in rows))


def upsert(db: sqlite3.Connection, rows: list[Any]) -> None:
    """Read and write the entities, and log."""
    for _, model, entity_id, _, _ in rows:
        db.execute("SELECT body FROM entities WHERE model = ? AND entity_id = ?", (model, entity_id)).fetchone()
    db.executemany(
        "INSERT INTO entities VALUES (?, ?, ?, ?, 1) ON CONFLICT DO UPDATE "
        "SET state = excluded.state, body = excluded.body, revision = revision + 1",
        ((model, entity_id, state, body) for _, model, entity_id, state, body in rows),
    )
    db.executemany(
        "INSERT INTO log (event_id, model, entity_id, body) VALUES (?, ?, ?, ?)",
        ((event, model, entity_id, body) for event, model, entity_id, _, body in rows),
    )


def throughput(place: Path, count: int) -> list[dict[str, Any]]:
    """Measure appends per second, in batches and singly, taking turns with the references."""
    rows = []
    for size, sent in ((500, transitions(count)), (1, transitions(max(count // 20, 1)))):
        took: dict[str, list[float]] = {"sqlite": [], "insert": [], "upsert": [], "memory": []}
        for _ in range(ROUNDS):
            took["sqlite"].append(ours(place, sent, size))
            took["insert"].append(by_hand(place, sent, size, insert))
            took["upsert"].append(by_hand(place, sent, size, upsert))
            took["memory"].append(ours(place, sent, size, memory=True))
        rates = {name: len(sent) / statistics.median(seconds) for name, seconds in took.items()}
        rows.append({"what": f"append, {size} a call", "unit": "1/s", **rates})
    return rows


WRITER = """
import asyncio, random, sys, time, uuid
from pathlib import Path
from mcp_sdk.context import Transition
from mcp_sdk.stores.sqlite import SqliteStore

async def main():
    store = SqliteStore(Path(sys.argv[1]))
    await store.open()
    for number in range(int(sys.argv[2])):
        await asyncio.sleep(random.uniform(0.005, 0.06))
        await store.append([Transition("order", f"o-{number}", "created", uuid.uuid4().hex)])
    await store.close()

asyncio.run(main())
"""


def watch_delay(place: Path, count: int = 150) -> dict[str, Any]:
    """Measure from the making of a transition in another process to the watcher here, the durable append included."""

    async def watch() -> list[float]:
        store = SqliteStore(place / "watched.db", poll_interval=0.05)
        await store.open()
        cursor = await store.cursor()
        command = [sys.executable, "-c", WRITER, str(place / "watched.db"), str(count)]
        writer = await asyncio.to_thread(subprocess.Popen, command)
        delays = []
        async for change in store.watch(cursor):
            if change.applied is not None:
                delays.append((datetime.now(UTC) - change.applied.transition.observed_at).total_seconds() * 1e3)
            if len(delays) == count:
                break
        await asyncio.to_thread(writer.wait)
        await store.close()
        return delays

    delays = sorted(asyncio.run(watch()))
    p50, p99 = delays[len(delays) // 2], delays[int(len(delays) * 0.99)]
    return {"what": "watch delay, poll 50 ms", "unit": "ms", "p50": p50, "p99": p99, "budget_p50": WATCH_BUDGET_MS}


def reading(place: Path, count: int = 3000) -> dict[str, Any]:
    """Measure a look-up of one entity beside the statement alone."""
    sent = transitions(3000)
    path = place / "read.db"

    async def read() -> float:
        store = SqliteStore(path)
        await store.open()
        await store.append(sent)
        began = time.perf_counter()
        for transition in itertools.islice(sent, count):
            await store.get(Scope(), [EntityRef("order", transition.entity_id)])
        took = time.perf_counter() - began
        await store.close()
        return took / count * 1e6

    mine = asyncio.run(read())
    with closing(sqlite3.connect(path)) as db:
        began = time.perf_counter()
        for transition in itertools.islice(sent, count):
            query = "SELECT * FROM entities WHERE scope = 1 AND model = 'order' AND entity_id = ?"
            db.execute(query, (transition.entity_id,)).fetchall()
        bare = (time.perf_counter() - began) / count * 1e6
    return {"what": "get one entity", "unit": "µs", "sqlite": mine, "statement": bare}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--count", type=int, default=20_000)
    args = parser.parse_args()
    random.seed(1)
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as name:
        place = Path(name)
        rows = [*throughput(place, args.count), watch_delay(place), reading(place)]
    for row in rows:
        values = ", ".join(f"{key} {value:,.1f}" for key, value in row.items() if isinstance(value, float))
        print(f"{row['what']:<28}{row['unit']:>5}  {values}")
    if args.json:
        args.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
