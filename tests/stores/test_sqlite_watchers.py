"""What a process appended itself is not read again, and nothing is missed, doubled or put out of order by that."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from mcp_sdk import BusinessModel
from mcp_sdk.context import EntityRef, Scope, Transition
from mcp_sdk.ports import AppendResult, AppendStatus, Applied, Change
from mcp_sdk.stores import _sqlite_log as log
from mcp_sdk.stores._sqlite_watchers import PAGES, Appended, Watcher
from mcp_sdk.stores.sqlite import SqliteStore

WHEN = datetime(2026, 11, 27, 2, 0, tzinfo=UTC)


def moves(prefix: str, count: int) -> list[Transition]:
    return [
        Transition("order", f"o-{number}", "created", f"{prefix}-{number}", attributes={"n": number}, observed_at=WHEN)
        for number in range(count)
    ]


def page(first: int, count: int) -> Appended:
    context: Any = None
    entries = [Applied(one, AppendStatus.APPLIED, context) for one in moves("p", count)]
    return Appended(first + count - 1, entries)


async def heard(store: SqliteStore, cursor: Any, count: int) -> list[Change]:
    found: list[Change] = []
    async with aclosing(store.watch(cursor)) as changes, asyncio.timeout(30):  # type: ignore[type-var]
        async for change in changes:
            found.append(change)
            if len(found) >= count:
                break
    return found


def test_pages_in_order() -> None:
    """Pages are given where they go on from a position, and only there."""
    watcher = Watcher()
    for one in (page(1, 3), page(4, 2), page(7, 1)):
        watcher.tell(one)
    first, second = watcher.take(0), watcher.take(3)
    assert first is not None
    assert [change.cursor for change in first.changes("f")] == ["f:1", "f:2", "f:3"]
    assert second is not None
    assert second.last == 5
    assert watcher.take(5) is None, "somebody else wrote 6"
    assert watcher.take(6) is None, "the file is read until its end"


def test_a_page_that_was_read_already() -> None:
    """A page that a watcher read from the file before it was brought is passed over."""
    watcher = Watcher()
    watcher.tell(page(1, 3))
    watcher.tell(page(4, 1))
    found = watcher.take(3)
    assert found is not None
    assert found.first == 4


def test_a_slow_watcher_reads_the_file() -> None:
    """Pages do not pile up for a watcher that is behind."""
    watcher = Watcher()
    for number in range(PAGES + 1):
        watcher.tell(page(number + 1, 1))
    assert watcher.take(0) is None


def test_other_writes_drop_the_pages() -> None:
    """Once anything else was written, which may have erased an entity, pages are not given."""
    watcher = Watcher()
    watcher.tell(page(1, 1))
    watcher.tell(None)
    assert watcher.take(0) is None


def test_own_changes_are_what_the_file_says(tmp_path: Path) -> None:
    """A watcher hears of its process's own appends exactly what another process reads of them."""

    async def run() -> None:
        own, other = (SqliteStore(tmp_path / "mesh.db", poll_interval=0.01) for _ in range(2))
        await own.open()
        await other.open()
        start = await own.cursor()
        ours, theirs = (asyncio.create_task(heard(store, start, 9)) for store in (own, other))
        await asyncio.sleep(0.1)
        await own.append(
            [*moves("a", 3), Transition("order", "o-1", "paid", "late", base_revision=7, observed_at=WHEN)]
        )
        moved = Transition("order", "o-1", None, "more", attributes={"m": (WHEN + timedelta(1))}, observed_at=WHEN)
        again: tuple[AppendResult, ...] = await own.append([moved, *moves("a", 1)])
        assert [one.status for one in again] == [AppendStatus.APPLIED, AppendStatus.DUPLICATE]
        await other.append(moves("b", 2))
        await own.append(moves("c", 2))
        assert await ours == await theirs
        await own.close()
        await other.close()

    asyncio.run(run())


def test_nothing_is_missed_between_writers(tmp_path: Path) -> None:
    """Two processes' worth of writers and other writes between: each watcher hears all, in one order."""

    async def run() -> None:
        stores = [SqliteStore(tmp_path / "mesh.db", poll_interval=0.01) for _ in range(2)]
        for store in stores:
            await store.open()
        start = await stores[0].cursor()
        watching = [asyncio.create_task(heard(store, start, 126)) for store in stores]

        async def write(number: int, store: SqliteStore) -> None:
            for turn in range(20):
                await store.append(moves(f"w{number}-{turn}", 3))
                if turn % 8 == 0:
                    await store.put_models(Scope(), [BusinessModel("order", retention=1 + turn + number)])

        await asyncio.gather(*(write(number, store) for number, store in enumerate(stores)))
        first, second = await asyncio.gather(*watching)
        assert first == second
        assert [change.cursor for change in first] == sorted({one.cursor for one in first}, key=_number)
        for store in stores:
            await store.close()

    asyncio.run(run())


def _number(cursor: str) -> int:
    return log.position(cursor.rpartition(":")[0], cursor)  # type: ignore[arg-type]


def test_a_watch_of_its_own_process_reads_nothing_again(tmp_path: Path, monkeypatch: Any) -> None:
    """While only this process appends, the entries of the log are not read."""

    async def run() -> None:
        store = SqliteStore(tmp_path / "mesh.db", poll_interval=60)
        await store.open()
        start = await store.cursor()
        watching = asyncio.create_task(heard(store, start, 60))
        await asyncio.sleep(0.2)
        monkeypatch.setattr(log, "after", None)
        for turn in range(20):
            await store.append(moves(f"t{turn}", 3))
        assert len(await watching) == 60
        await store.close()

    asyncio.run(run())


def test_forgotten_entities_are_not_told_again(tmp_path: Path) -> None:
    """What was erased before a watcher came to it is not told to it any more."""

    async def run() -> None:
        store = SqliteStore(tmp_path / "mesh.db", poll_interval=0.01)
        await store.open()
        start = await store.cursor()
        watch = store.watch(start)
        first = asyncio.ensure_future(anext(watch))
        await asyncio.sleep(0.1)
        await store.append(moves("a", 1))
        assert (await first).applied is not None
        await store.append(moves("b", 1))
        await store.forget(Scope(), EntityRef("order", "o-0"))
        change = await anext(watch)
        assert (change.kind, change.ref) == ("forgotten", EntityRef("order", "o-0"))
        await watch.aclose()  # type: ignore[attr-defined]
        await store.close()

    asyncio.run(run())
