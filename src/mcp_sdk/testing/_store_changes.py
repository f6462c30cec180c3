"""Cases of ``StoreSuite``: what transitions do, and what watchers hear of it."""

# ruff: noqa: RUF001 - letters that look alike are part of what is tested

from __future__ import annotations

import asyncio
import itertools
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from mcp_sdk.context import EntityRef, ModelContext, Outcome, Trust
from mcp_sdk.ports import AppendResult, Applied, Change, Cursor, Record, Store
from mcp_sdk.testing._scenarios import (
    APPLIED,
    DUPLICATE,
    LATE,
    LOGGED,
    ORDER,
    PATIENCE,
    SCOPE,
    Cases,
    collect,
    context_of,
    move,
    scenario,
    statuses,
)

__all__ = ["ChangeCases"]


class ChangeCases(Cases):
    """Transitions, revisions, batches, duplicates, rivals and watches."""

    @scenario
    async def test_first_change_makes_revision_one(self, store: Store) -> None:
        """A first transition creates the entity with its facts, at revision 1, trusted as the store's."""
        sent = move(attributes={"amount": 1050, "tags": ("a", "b"), "gift": True, "rate": 0.5}, source="shop")
        assert await store.append([sent]) == (AppendResult(APPLIED, 1),)
        found = await context_of(store)
        assert found == ModelContext(
            "order", "o-1", "created", sent.attributes, 1, False, sent.observed_at, "shop", Trust.STORE
        )

    @scenario
    async def test_it_is_known_how_long_an_entity_was_in_a_state(self, store: Store) -> None:
        """The answer to a move tells the seconds in the state that was left; changes within a state do not count."""
        first = datetime(2026, 1, 1, tzinfo=UTC)
        (created,) = await store.append([move(observed_at=first)])
        (touched,) = await store.append([move(to_state=None, observed_at=first + timedelta(seconds=20))])
        (paid,) = await store.append([move(to_state="paid", observed_at=first + timedelta(seconds=90))])
        assert (created.since, touched.since, paid.since) == (None, None, 90.0)
        found = await context_of(store)
        assert found is not None
        assert found.entered_at == first + timedelta(seconds=90)

    @scenario
    async def test_every_kind_of_value_comes_back_as_it_went(self, store: Store) -> None:
        """Attributes keep their types: text of any alphabet, 64-bit integers, doubles, booleans, timestamps, lists."""
        when = datetime(2026, 3, 29, 1, 30, 0, 123456, tzinfo=UTC)
        values = {
            "s": "𝒪 é\x00",
            "i": -(2**63),
            "j": 2**63 - 1,
            "d": 0.1,
            "b": False,
            "t": when,
            "l": ("x", ""),
            "e": (),
        }
        await store.append([move(attributes=values)])
        found = await context_of(store)
        assert found is not None
        assert {name: (type(value), value) for name, value in found.attributes.items()} == {
            name: (type(value), value) for name, value in values.items()
        }

    @scenario
    async def test_later_changes_merge_attributes_and_keep_the_state(self, store: Store) -> None:
        """Attributes are merged into what is there; ``to_state`` None leaves the state."""
        await store.append([move(attributes={"amount": 1, "region": "eu"})])
        await store.append([move(to_state=None, attributes={"amount": 2})])
        found = await context_of(store)
        assert found is not None
        assert (found.state, found.revision, dict(found.attributes)) == ("created", 2, {"amount": 2, "region": "eu"})

    @scenario
    async def test_get_answers_with_what_exists(self, store: Store) -> None:
        """Looking up many entities of several models gives those that exist; asking for nothing gives nothing."""
        await store.append([move("o-1"), move("o-2"), move("u-1", "vip", model="user")])
        refs = [ORDER, EntityRef("order", "o-2"), EntityRef("user", "u-1"), EntityRef("user", "o-1"), ORDER]
        assert set(await store.get(SCOPE, refs)) == {ORDER, EntityRef("order", "o-2"), EntityRef("user", "u-1")}
        assert await store.get(SCOPE, []) == {}
        many = [EntityRef("order", f"o-{n}") for n in range(700)]
        assert len(await store.get(SCOPE, many)) == 2

    @scenario
    async def test_compare_and_set_refuses_what_stands_on_an_old_revision(self, store: Store) -> None:
        """A change on a revision that is not the entity's is late: it is in the log, and changes nothing."""
        await store.append([move(), move(to_state="paid", base_revision=1)])
        results = await store.append(
            [move(to_state="failed", base_revision=1), move(to_state="failed", base_revision=3)]
        )
        assert results == (AppendResult(LATE, 2), AppendResult(LATE, 2))
        found = await context_of(store)
        assert found is not None
        assert (found.state, found.revision) == ("paid", 2)
        assert [entry.status for entry in await store.history(SCOPE, ORDER)] == [APPLIED, APPLIED, LATE, LATE]

    @scenario
    async def test_base_zero_is_for_what_does_not_exist(self, store: Store) -> None:
        """Base revision 0 applies only when there is no entity yet; any other only when there is one."""
        assert await store.append([move(base_revision=1)]) == (AppendResult(LATE, 0),)
        assert await context_of(store) is None
        assert await store.append([move(base_revision=0)]) == (AppendResult(APPLIED, 1),)
        assert await store.append([move(base_revision=0)]) == (AppendResult(LATE, 1),)

    @scenario
    async def test_transitions_of_one_call_stand_on_each_other(self, store: Store) -> None:
        """One call may move an entity several times; each stands on the one before it."""
        moves = [move(base_revision=0), move(to_state="paid", base_revision=1), move(to_state="late", base_revision=1)]
        assert await store.append([*moves, move(to_state="shipped")]) == (
            AppendResult(APPLIED, 1),
            AppendResult(APPLIED, 2),
            AppendResult(LATE, 2),
            AppendResult(APPLIED, 3),
        )

    @scenario
    async def test_aborted_calls_are_logged_only(self, store: Store) -> None:
        """An aborted transition is in the log and creates or changes no entity."""
        aborted = move(outcome=Outcome.ABORTED, cause="TimeoutError", duration=0.25, operation="pay", trace_id="f" * 32)
        assert await store.append([aborted]) == (AppendResult(LOGGED, 0),)
        assert await context_of(store) is None
        await store.append([move()])
        assert await store.append([replace(aborted, event_id="again")]) == (AppendResult(LOGGED, 1),)
        (first, *_) = await store.history(SCOPE, ORDER)
        assert first == Applied(aborted, LOGGED, ModelContext("order", "o-1", trust=Trust.STORE))

    @scenario
    async def test_a_change_that_names_no_entity_is_logged_only(self, store: Store) -> None:
        """An empty id names no entity: the transition is logged, and nothing gets that id."""
        assert await store.append([move("")]) == (AppendResult(LOGGED, 0),)
        assert (await store.list(SCOPE, "order")).contexts == ()

    @scenario
    async def test_an_event_that_comes_again_changes_nothing(self, store: Store, other: Store) -> None:
        """The same event id, from another handle or twice in one call, is applied once and answered alike."""
        first, late = move(), move(base_revision=9)
        await store.append([first, late])
        cursor = await store.cursor()
        assert await other.append([first, late]) == (AppendResult(DUPLICATE, 1), AppendResult(LATE, 1))
        await store.append([move(to_state="paid")])
        assert await other.append([first]) == (AppendResult(DUPLICATE, 1),)
        twice = move("o-2")
        assert await store.append([twice, twice]) == (AppendResult(APPLIED, 1), AppendResult(DUPLICATE, 1))
        assert len(await store.history(SCOPE, ORDER)) == 3
        changes = await collect(store, cursor, 2)
        assert [change.applied.transition.to_state for change in changes if change.applied] == ["paid", "created"]

    @scenario
    async def test_a_batch_is_applied_whole_or_not(self, store: Store) -> None:
        """One late member makes the whole batch late; members of other batches are not touched by it."""
        await store.append([move("a"), move("b")])
        bad = [
            move("a", "x", batch_id="1"),
            move("b", "x", batch_id="1", base_revision=7),
            move("c", "x", batch_id="1"),
        ]
        good = [move("a", "y", batch_id="2"), move("c", "y", batch_id="2")]
        assert statuses(await store.append([*bad, *good])) == [LATE, LATE, LATE, APPLIED, APPLIED]
        page = await store.list(SCOPE, "order")
        assert [(c.entity_id, c.state, c.revision) for c in page.contexts] == [
            ("a", "y", 2),
            ("b", "created", 1),
            ("c", "y", 1),
        ]

    @scenario
    async def test_a_batch_may_move_one_entity_twice(self, store: Store) -> None:
        """Members of a batch stand on each other; when the last is late the first is void too."""
        batch = [move(base_revision=0, batch_id="1"), move(to_state="paid", base_revision=1, batch_id="1")]
        assert statuses(await store.append(batch)) == [APPLIED, APPLIED]
        void = [move(to_state="x", base_revision=2, batch_id="2"), move(to_state="y", base_revision=2, batch_id="2")]
        results = await store.append(void)
        assert results == (AppendResult(LATE, 2), AppendResult(LATE, 2))
        assert [result.since for result in results] == [None, None], "no state was left"

    @scenario
    async def test_a_batch_that_comes_again_changes_nothing(self, store: Store) -> None:
        """A repeated batch is answered as duplicates, and a member that aborts does not void the others."""
        batch = [move("a", batch_id="1"), move("b", batch_id="1"), move("c", batch_id="1", outcome=Outcome.ABORTED)]
        assert statuses(await store.append(batch)) == [APPLIED, APPLIED, LOGGED]
        assert statuses(await store.append(batch)) == [DUPLICATE, DUPLICATE, LOGGED]

    @scenario
    async def test_appending_nothing_gives_nothing(self, store: Store) -> None:
        """An empty call is answered with no results."""
        assert await store.append([]) == ()

    @scenario
    async def test_concurrent_writers_leave_no_gap_in_revisions(
        self, store: Store, second: Store, third: Store
    ) -> None:
        """Writers on one entity through several handles get the revisions 1 to n, each once."""

        async def write(handle: Store) -> list[int]:
            return [(await handle.append([move()]))[0].revision for _ in range(20)]

        revisions = await asyncio.gather(write(store), write(second), write(third), write(store))
        assert sorted(itertools.chain(*revisions)) == list(range(1, 81))
        history = await store.history(SCOPE, ORDER, limit=100)
        assert [entry.context.revision for entry in history] == list(range(1, 81))

    @scenario
    async def test_one_of_many_wins_a_compare_and_set(self, store: Store, second: Store, third: Store) -> None:
        """Of many changes on one revision exactly one is applied."""
        await store.append([move()])
        rivals = [handle.append([move(to_state="paid", base_revision=1)]) for handle in (store, second, third) * 5]
        results = [result for (result,) in await asyncio.gather(*rivals)]
        assert sorted(status.value for status in statuses(results)) == ["applied"] + ["late"] * 14

    @scenario
    async def test_watch_tells_every_change_in_order(self, store: Store) -> None:
        """A watcher hears of each transition, what became of it, and the entity's context after it."""
        cursor = await store.cursor()
        moves = [move(), move(to_state="paid", base_revision=1), move(to_state="x", base_revision=1)]
        await store.append([*moves, move("o-2", outcome=Outcome.ABORTED)])
        changes = await collect(store, cursor, 4)
        assert [change.kind for change in changes] == ["transition"] * 4
        applied = [change.applied for change in changes if change.applied is not None]
        assert [entry.transition for entry in applied[:3]] == moves
        assert [entry.status for entry in applied] == [APPLIED, APPLIED, LATE, LOGGED]
        assert [(entry.context.state, entry.context.revision) for entry in applied] == [
            ("created", 1),
            ("paid", 2),
            ("paid", 2),
            (None, 0),
        ]

    @scenario
    async def test_watch_resumes_from_any_position(self, store: Store, other: Store) -> None:
        """A watcher that starts late or comes back with a cursor gets exactly what came after it."""
        start = await store.cursor()
        moves = [move(f"o-{number}") for number in range(30)]
        for at in range(0, 30, 5):
            await store.append(moves[at : at + 5])
        changes = await collect(other, start, 30)
        ids = [change.applied.transition.entity_id for change in changes if change.applied]
        assert ids == [sent.entity_id for sent in moves]
        for at in (0, 7, 29):
            later = await collect(other, changes[at].cursor, 29 - at)
            assert [change.cursor for change in later] == [change.cursor for change in changes[at + 1 :]]

    @scenario
    async def test_watch_misses_nothing_while_writers_write(self, store: Store, second: Store, third: Store) -> None:
        """A watcher that runs beside two writers, and breaks off and resumes again and again, hears of all, once."""
        cursor = await store.cursor()

        async def write(handle: Store, name: str) -> None:
            for number in range(40):
                await handle.append([move(f"{name}-{number}-{part}") for part in range(3)])
                await asyncio.sleep(0)

        async def watch() -> list[str]:
            heard: list[str] = []
            position = cursor
            while len(heard) < 240:
                changes = await collect(third, position, min(17, 240 - len(heard)))
                position = changes[-1].cursor
                heard += [change.applied.transition.entity_id for change in changes if change.applied]
            return heard

        heard, *_ = await asyncio.gather(watch(), write(store, "a"), write(second, "b"))
        assert len(heard) == len(set(heard)) == 240
        for name in ("a", "b"):
            own = [entity_id for entity_id in heard if entity_id.startswith(name)]
            assert own == [f"{name}-{number}-{part}" for number in range(40) for part in range(3)]

    @scenario
    async def test_own_changes_are_heard_as_others_hear_them(self, store: Store, other: Store) -> None:
        """A watcher hears of its own handle's appends exactly what another handle's watcher hears, to the position."""
        when = datetime(2026, 3, 29, 1, 30, 0, 123456, tzinfo=UTC)
        cursor = await store.cursor()
        watching = [asyncio.create_task(collect(handle, cursor, 16)) for handle in (store, other)]
        await asyncio.sleep(0.1)
        await store.append([move(attributes={"n": 2**63 - 1, "tags": ("a", "")}, observed_at=when, source="shop")])
        later = {"at": when, "rate": 0.5, "s": "𝒪 é\x00\t\n"}
        await store.append([move(to_state=None, attributes=later), move(), move("", cause="no id")])
        await store.append([move(base_revision=9), move("o-2", outcome=Outcome.ABORTED, duration=0.25)])
        await other.append([move("o-3"), move(to_state="paid")])
        bad = [move("o-3", "x", batch_id="1"), move("o-4", "x", batch_id="1", base_revision=7)]
        twice = move("o-3", "paid", attributes={"s": "1"})
        await store.append([*bad, twice, twice, move("o-4", batch_id="2", namespace="eu")])
        await store.append([move("o-3", "paid", attributes={"s": "2"})])
        await store.append([move("o-5", None, attributes={"s": "1"}), move("o-6", None)])
        await store.append([move("o-5", None, attributes={"s": "2"})])
        own, heard = await asyncio.gather(*watching)
        assert own == heard

    @scenario
    async def test_watchers_of_all_handles_hear_one_order(self, store: Store, other: Store) -> None:
        """While handles write at once, transitions and records, each one's watcher hears all of it, in one order."""
        cursor = await store.cursor()
        watching = [asyncio.create_task(collect(handle, cursor, 126)) for handle in (store, other)]

        async def write(handle: Store, name: str) -> None:
            for turn in range(20):
                await handle.append([move(f"{name}-{turn}-{part}") for part in range(3)])
                if turn % 8 == 0:
                    await handle.put_record(SCOPE, Record("note", f"{name}-{turn}"))

        await asyncio.gather(write(store, "a"), write(other, "b"))
        first, second = await asyncio.gather(*watching)
        assert first == second
        assert len({change.cursor for change in first}) == 126

    @scenario
    async def test_watch_ends_when_the_store_closes(self, store: Store) -> None:
        """Closing the store ends its watchers, without an error."""
        cursor = await store.cursor()

        async def watch() -> list[Change]:
            return [change async for change in store.watch(cursor)]

        task = asyncio.create_task(watch())
        await asyncio.sleep(0.05)
        await store.close()
        async with asyncio.timeout(PATIENCE):
            assert await task == []

    @scenario
    async def test_a_watch_of_a_closed_store_ends_at_once(self, store: Store) -> None:
        """A watch that begins when the store is closed already yields nothing, without an error."""
        cursor = await store.cursor()
        await store.append([move()])
        await store.close()
        async with asyncio.timeout(PATIENCE):
            assert [change async for change in store.watch(cursor)] == []

    @scenario
    async def test_a_position_of_another_store_asks_for_a_resync(self, store: Store) -> None:
        """A cursor that means nothing here yields ``resync``, and the watch goes on from there."""
        await store.append([move()])
        for foreign in (Cursor("somewhere:12"), Cursor("")):
            (change,) = await collect(store, foreign, 1)
            assert change.kind == "resync"
            sent = move("o-9")
            await store.append([sent])
            (following,) = await collect(store, change.cursor, 1)
            assert following.applied is not None
            assert following.applied.transition == sent
