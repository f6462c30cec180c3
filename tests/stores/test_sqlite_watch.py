"""A process that writes to a SQLite file does not read its own entries back."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from pathlib import Path
from typing import Any

from echoing import hears_without_reading, keeps_little

from mcp_sdk.stores import _sqlite_log as log
from mcp_sdk.stores.sqlite import SqliteStore
from mcp_sdk.testing.stores import move


def test_a_watch_of_its_own_process_reads_nothing_again(tmp_path: Path, monkeypatch: Any) -> None:
    """While only this process appends, the entries of the log are not read."""
    store = SqliteStore(tmp_path / "mesh.db", poll_interval=60)
    hears_without_reading(store, lambda refuse: monkeypatch.setattr(log, "applied_from_row", refuse))


def test_a_slow_watch_has_little_kept(tmp_path: Path) -> None:
    """What is written for a watch that stands still takes 16 MB of this process at most, and all of it is heard."""
    keeps_little(SqliteStore(tmp_path / "mesh.db", poll_interval=60))


def test_a_watch_that_fell_behind_takes_all_that_waits(tmp_path: Path) -> None:
    """What was appended while a watch was busy is there at once, however seldom the file is looked at."""

    async def run() -> None:
        store = SqliteStore(tmp_path / "mesh.db", poll_interval=60)
        await store.open()
        changes: Any = store.watch(await store.cursor())
        async with aclosing(changes), asyncio.timeout(30):
            first = asyncio.create_task(anext(changes))
            await asyncio.sleep(0.1)
            for number in range(20):
                await store.append([move(f"o-{number}")])
            heard = [await first, *[await anext(changes) for _ in range(19)]]
        await store.close()
        assert [change.applied.context.entity_id for change in heard] == [f"o-{number}" for number in range(20)]

    asyncio.run(run())
