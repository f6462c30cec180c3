"""Cases of ``StoreSuite``: what replicas of a control plane share, and what must hold when machines fail each other."""

# ruff: noqa: RUF001 - letters that look alike are part of what is tested

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import Any

from mcp_sdk.context import MESH, Scope
from mcp_sdk.exceptions import MissingExtra, RevisionConflict, StoreUnavailable
from mcp_sdk.ports import Change, Cursor, Record, Store
from mcp_sdk.testing._scenarios import ORDER, PATIENCE, SCOPE, Cases, collect, move, scenario

try:
    import pytest
except ModuleNotFoundError as missing:
    raise MissingExtra("pytest", extra="testing", purpose="StoreSuite") from missing

__all__ = ["SharingCases"]


class SharingCases(Cases):
    """Records, the audit log, connections that are lost."""

    @scenario
    async def test_records_are_revised_by_compare_and_set(self, store: Store, other: Store) -> None:
        """A record is created on revision 0, replaced on its own revision only, and comes back as it was written."""
        content = {"text": "é𝒪", "list": [1, 2.5, None, True], "deep": {"a": {}}}
        first = await store.put_record(SCOPE, Record("override", "orders", content))
        assert first == Record("override", "orders", content, 1)
        with pytest.raises(RevisionConflict) as conflict:
            await other.put_record(SCOPE, Record("override", "orders", {}))
        assert (conflict.value.expected, conflict.value.actual) == (0, 1)
        second = await other.put_record(SCOPE, replace(first, content={"n": 2}))
        assert await store.records(SCOPE, "override") == (second,)
        assert (second.revision, dict(second.content)) == (2, {"n": 2})

    @scenario
    async def test_of_many_who_write_a_record_one_wins(self, store: Store, second: Store, third: Store) -> None:
        """Of many who write one revision of a record through several handles, exactly one succeeds."""
        racing = [
            handle.put_record(SCOPE, Record("lease", "generator", {"holder": number}))
            for number, handle in enumerate((store, second, third) * 4)
        ]
        outcomes = await asyncio.gather(*racing, return_exceptions=True)
        won = [outcome for outcome in outcomes if isinstance(outcome, Record)]
        assert sum(isinstance(outcome, RevisionConflict) for outcome in outcomes) == 11
        assert await store.records(SCOPE, "lease") == (*won,)

    @scenario
    async def test_records_are_deleted_by_compare_and_set(self, store: Store, other: Store) -> None:
        """A record is deleted on its revision only; deleting again is no error; a new one begins at revision 1."""
        first = await store.put_record(SCOPE, Record("token", "t"))
        second = await store.put_record(SCOPE, first)
        with pytest.raises(RevisionConflict):
            await other.delete_record(SCOPE, first)
        await other.delete_record(SCOPE, second)
        await other.delete_record(SCOPE, second)
        assert await store.records(SCOPE, "token") == ()
        assert (await store.put_record(SCOPE, Record("token", "t"))).revision == 1

    @scenario
    async def test_records_are_kept_apart_by_scope_and_kind(self, store: Store) -> None:
        """Scope, kind and name keep records apart, whatever signs they hold; a kind is listed by name."""
        names = ["b", "a", "é", "𝒪", "a/b", "*", "", "a b.c", "x" * 500]
        for scope in (SCOPE, MESH, Scope("a", "b")):
            for kind in ("token", "tok", "tok.en"):
                for name in names:
                    await store.put_record(scope, Record(kind, name, {"is": [*scope, kind, name]}))
        for scope in (SCOPE, MESH, Scope("a", "b")):
            found = await store.records(scope, "tok")
            assert [record.name for record in found] == sorted(names)
            assert [record.content["is"] for record in found] == [[*scope, "tok", name] for name in sorted(names)]
        assert await store.records(Scope("b", "a"), "tok") == ()

    @scenario
    async def test_watchers_hear_of_records(self, store: Store, other: Store) -> None:
        """Watchers hear of each record that is written or deleted, with its scope and kind."""
        cursor = await store.cursor()
        record = await other.put_record(MESH, Record("token", "t"))
        await other.delete_record(MESH, record)
        await other.delete_record(MESH, record)
        await other.put_record(SCOPE, Record("override", "o"))
        changes = await collect(store, cursor, 3)
        assert [(change.kind, change.scope, change.record) for change in changes] == [
            ("records", MESH, "token"),
            ("records", MESH, "token"),
            ("records", SCOPE, "override"),
        ]

    @scenario
    async def test_the_audit_log_has_no_gaps(self, store: Store, other: Store) -> None:
        """Entries are numbered from 1, each number is given once, whoever writes, and they come back in order."""
        cursor = await store.cursor()
        with pytest.raises(RevisionConflict):
            await store.append_audit(2, "too early")

        async def write(handle: Store, name: str) -> None:
            for number in range(5):
                await _audited(handle, json.dumps([name, number, "é\n𝒪"]))

        await asyncio.gather(write(store, "a"), write(other, "b"))
        entries = [json.loads(entry) for entry in await store.audit()]
        assert sorted(entries) == [[name, number, "é\n𝒪"] for name in "ab" for number in range(5)]
        assert [json.loads(entry) for entry in await other.audit(after=3, limit=4)] == entries[3:7]
        assert await store.audit(after=10) == ()
        changes = await collect(other, cursor, 10)
        assert {(change.kind, change.scope) for change in changes} == {("audit", MESH)}

    @scenario
    async def test_a_watcher_that_lost_its_connection_misses_nothing(
        self, store: Store, watched: Store, writer: Store
    ) -> None:
        """A watcher whose connection is cut again and again, and who resumes, hears of every change once, in order."""
        self._needs_connections()
        cursor = await store.cursor()
        watching = asyncio.create_task(_persist(watched, cursor, 60))
        for number in range(60):
            await writer.append([move(f"o-{number:02}")])
            if number % 20 == 10:
                await self.cut(watched)
        heard = await watching
        ids = [change.applied.transition.entity_id for change in heard if change.applied]
        assert ids == [f"o-{number:02}" for number in range(60)]

    @scenario
    async def test_what_a_cut_connection_left_open_is_settled_by_asking_again(self, store: Store, other: Store) -> None:
        """A writer whose connection is cut asks again with the same event ids: each is applied once, none is lost."""
        self._needs_connections()
        moves = [move() for _ in range(40)]

        async def write() -> None:
            for sent in moves:
                await _insist(lambda sent=sent: store.append([sent]))  # type: ignore[misc]

        writing, pause = asyncio.create_task(write()), 0.03
        while not writing.done():
            await asyncio.sleep(pause)
            await self.cut(store)
            pause *= 1.2  # a new connection may need longer than that to be of use
        await writing
        history = await other.history(SCOPE, ORDER)
        assert [entry.transition.event_id for entry in history] == [sent.event_id for sent in moves]
        assert [entry.context.revision for entry in history] == list(range(1, 41))

    @scenario
    async def test_calls_after_a_cut_find_a_new_connection(self, store: Store) -> None:
        """After its connections were cut a handle answers again, without being opened anew."""
        self._needs_connections()
        await store.append([move()])
        await self.cut(store)
        assert len(await _insist(lambda: store.get(SCOPE, [ORDER]))) == 1

    def _needs_connections(self) -> None:
        if not self.connected:
            pytest.skip("a handle of this store holds no connection that could be cut")


async def _audited(store: Store, entry: str) -> None:
    while True:
        try:
            return await store.append_audit(len(await store.audit()) + 1, entry)
        except RevisionConflict:
            continue


async def _insist(call: Callable[[], Awaitable[Any]]) -> Any:
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                return await call()
            except StoreUnavailable:
                await asyncio.sleep(0.01)


async def _persist(store: Store, cursor: Cursor, count: int) -> list[Change]:
    """Watch as a control plane does: from the last position again, whenever the store becomes unavailable."""
    heard: list[Change] = []
    while len(heard) < count:
        position = heard[-1].cursor if heard else cursor
        heard += await _insist(partial(collect, store, position, 1))
    return heard
