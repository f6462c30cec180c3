"""The test that every store must pass.

An adapter's test file is a subclass with one hook::

    from mcp_sdk.testing import StoreSuite

    class TestMyStore(StoreSuite):
        def store(self, place: Path) -> Store:
            return MyStore(f"mystore://localhost/{place.name}")

Each test drives its own event loop; no pytest plug-in is needed.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from mcp_sdk.context import EntityRef, ModelContext, Outcome, Scope, Transition, Trust
from mcp_sdk.exceptions import RevisionConflict
from mcp_sdk.models import Attribute, BusinessModel
from mcp_sdk.ports import Applied, AppendResult, AppendStatus, Change, Cursor, SigningKey, Store
from mcp_sdk.services import Endpoint
from mcp_sdk.snapshot import PolicyRevision

__all__ = ["StoreSuite", "collect", "move", "scenario"]

SCOPE = Scope()
ORDER = EntityRef("order", "o-1")
WEIRD_IDS = (
    " ",
    "/",
    "a/b/../c",
    "%2F",
    "*",
    "a:b|c",
    "'; DROP TABLE entities; --",
    "line\nbreak",
    "nul\x00byte",
    "café",
    "cafe\u0301",
    "𝒪𝓇𝒹𝑒𝓇-🛒",
    "\U0010ffff",
    "x" * 4096,
)
PATIENCE = 20.0

Scenario: TypeAlias = Callable[..., Awaitable[None]]


def move(entity_id: str = "o-1", to_state: str | None = "created", **fields: Any) -> Transition:
    """Give a transition of an ``order`` with an event id of its own."""
    fields.setdefault("event_id", uuid.uuid4().hex)
    return Transition(fields.pop("model", "order"), entity_id, to_state, **fields)


def scenario(test: Scenario) -> Callable[..., None]:
    """Turn ``async def test(self, store, …)`` into a test; each further parameter gets another handle on the same storage."""
    names = test.__code__.co_varnames[1 : test.__code__.co_argcount]

    def run(self: StoreSuite, tmp_path: Path) -> None:
        asyncio.run(_within(self, tmp_path, len(names), test))

    run.__name__, run.__doc__, run.__qualname__ = test.__name__, test.__doc__, test.__qualname__
    return run


async def _within(suite: StoreSuite, place: Path, handles: int, test: Scenario) -> None:
    async with AsyncExitStack() as stack, asyncio.timeout(60):
        stores = []
        for _ in range(handles):
            store = suite.store(place)
            await store.open()
            stack.push_async_callback(store.close)
            stores.append(store)
        await test(suite, *stores)


async def collect(store: Store, cursor: Cursor, count: int) -> list[Change]:
    """Give the ``count`` changes after a position, waiting for them if need be."""
    found: list[Change] = []
    async with aclosing(_generator(store.watch(cursor))) as changes, asyncio.timeout(PATIENCE):
        while len(found) < count:
            found.append(await anext(changes))
    return found


async def _generator(changes: AsyncIterator[Change]) -> Any:
    async for change in changes:
        yield change


def statuses(results: Sequence[AppendResult]) -> list[AppendStatus]:
    """Give what became of each transition."""
    return [result.status for result in results]


async def context_of(store: Store, ref: EntityRef = ORDER, scope: Scope = SCOPE) -> ModelContext | None:
    """Give an entity's context, or None."""
    return (await store.get(scope, [ref])).get(ref)


APPLIED, DUPLICATE, LATE, LOGGED = AppendStatus.APPLIED, AppendStatus.DUPLICATE, AppendStatus.LATE, AppendStatus.LOGGED


class StoreSuite:
    """What holds of every store. Subclass it, name the class ``Test…``, and give ``store``.

    ``remembers`` is False for a store that keeps nothing once every handle is closed.
    """

    remembers = True

    def store(self, place: Path) -> Store:
        """Give a store, not yet open, over the storage that belongs to ``place``.

        ``place`` is an empty directory, another one for each test; its name is unique too. Called again with the same
        ``place``, this gives another handle on the same storage, or the same store.
        """
        raise NotImplementedError

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
        """The same event id, in another call, from another handle or twice in one call, is applied once and answered alike."""
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
        assert await store.append(void) == (AppendResult(LATE, 2), AppendResult(LATE, 2))

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
        assert sorted(sum(revisions, [])) == list(range(1, 81))
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

    @scenario
    async def test_list_is_ordered_and_comes_in_pages(self, store: Store) -> None:
        """Pages of any size, put together, are all entities of the model by id, in the order of code points."""
        ids = ["a", "A", "aa", "b", "é", "z", "ﬀ", "𝒪", "a/b", "10", "9"]
        await store.append([*(move(entity_id) for entity_id in ids), move("u", model="user")])
        for limit in (1, 3, len(ids), 100):
            found: list[str] = []
            after = ""
            while True:
                page = await store.list(SCOPE, "order", limit=limit, after=after)
                assert len(page.contexts) <= limit
                found += [context.entity_id for context in page.contexts]
                after = page.after
                if not after:
                    break
            assert found == sorted(ids)

    @scenario
    async def test_list_finds_by_state_and_prefix(self, store: Store) -> None:
        """State and prefix narrow a list, alone and together; wild cards of query languages mean themselves."""
        await store.append(
            [move("eu-1"), move("eu-2", "paid"), move("us-1", "paid"), move("e%"), move("e_\U0010ffffx")]
        )

        async def ids(**filters: Any) -> list[str]:
            return [context.entity_id for context in (await store.list(SCOPE, "order", **filters)).contexts]

        assert await ids(state="paid") == ["eu-2", "us-1"]
        assert await ids(id_prefix="eu") == ["eu-1", "eu-2"]
        assert await ids(state="paid", id_prefix="eu") == ["eu-2"]
        assert await ids(id_prefix="e%") == ["e%"]
        assert await ids(id_prefix="e_\U0010ffff") == ["e_\U0010ffffx"]
        assert await ids(state="none such") == []
        await store.append([move("eu-1", "paid")])
        assert await ids(state="created", id_prefix="eu") == []

    @scenario
    async def test_weird_ids_are_ids_like_others(self, store: Store) -> None:
        """Blanks, slashes, quotes, NUL, four-byte and combining characters and long ids name entities apart from each other."""
        await store.append([move(entity_id, f"s{n}") for n, entity_id in enumerate(WEIRD_IDS)])
        refs = [EntityRef("order", entity_id) for entity_id in WEIRD_IDS]
        found = await store.get(SCOPE, refs)
        assert [found[ref].state for ref in refs] == [f"s{n}" for n in range(len(WEIRD_IDS))]
        listed = [context.entity_id for context in (await store.list(SCOPE, "order")).contexts]
        assert listed == sorted(WEIRD_IDS)
        for ref in refs:
            assert [entry.transition.ref for entry in await store.history(SCOPE, ref)] == [ref]
            assert (await store.forget(SCOPE, ref)).contexts == 1
        assert (await store.list(SCOPE, "order")).contexts == ()

    @scenario
    async def test_scopes_never_mix(self, store: Store) -> None:
        """Namespace and environment keep everything apart: entities, events, lists, models, policies, endpoints, keys."""
        scopes = [Scope("shop", "prod"), Scope("shop", "test"), Scope("prod", "shop"), Scope("shopprod", "")]
        for number, scope in enumerate(scopes):
            sent = move(event_id="same", batch_id="same", to_state=f"s{number}")
            sent = replace(sent, namespace=scope.namespace, environment=scope.environment)
            assert await store.append([sent]) == (AppendResult(APPLIED, 1),)
            await store.put_models(scope, [BusinessModel(f"m{number}")])
            await store.put_policies(scope, PolicyRevision(0, {"n": number}))
            await store.register(scope, Endpoint("shop", f"http://127.0.0.1:{number + 1}"), ttl=60)
            await store.put_key(scope, SigningKey(f"k{number}", bytes(16)))
        for number, scope in enumerate(scopes):
            found = await context_of(store, scope=scope)
            assert found is not None
            assert found.state == f"s{number}"
            assert [context.state for context in (await store.list(scope, "order")).contexts] == [f"s{number}"]
            assert [model.name for model in await store.models(scope)] == [f"m{number}"]
            policies = await store.policies(scope)
            assert policies is not None
            assert policies.programs == {"n": number}
            assert [endpoint.url for endpoint in await store.endpoints(scope)] == [f"http://127.0.0.1:{number + 1}"]
            assert [key.kid for key in await store.keys(scope)] == [f"k{number}"]
        await store.forget(scopes[0], ORDER)
        assert [await context_of(store, scope=scope) is None for scope in scopes] == [True, False, False, False]
        assert await store.history(SCOPE, ORDER) == ()

    @scenario
    async def test_history_gives_the_last_transitions(self, store: Store) -> None:
        """History is oldest first, holds the newest ``limit`` transitions of the one entity, and every field of them."""
        await store.append([move(to_state=f"s{number}", attributes={"n": number}) for number in range(10)])
        await store.append([move("o-2")])
        last = await store.history(SCOPE, ORDER, limit=3)
        assert [(entry.transition.to_state, entry.context.revision) for entry in last] == [
            ("s7", 8),
            ("s8", 9),
            ("s9", 10),
        ]
        full = replace(
            move(
                attributes={"amount": 5},
                base_revision=10,
                batch_id="b",
                source="shop",
                operation="POST /x",
                duration=1.5,
            ),
            from_state="s9",
            trace_id="0" * 32,
        )
        await store.append([full])
        assert (await store.history(SCOPE, ORDER, limit=1))[0].transition == full

    @scenario
    async def test_models_are_declared_and_replaced(self, store: Store, other: Store) -> None:
        """Models come back as declared; a later declaration replaces the earlier; watchers hear of changes only."""
        cursor = await store.cursor()
        order = BusinessModel(
            "order",
            states=("created", "paid"),
            transitions={"created": frozenset({"paid"})},
            attributes={"amount": Attribute("amount", "decimal"), "card": Attribute("card", sensitive=True)},
            enforce=True,
            retention=60.0,
        )
        await store.put_models(SCOPE, [order, BusinessModel("user", principal=True)])
        await other.put_models(SCOPE, [order])
        assert await other.models(SCOPE) == (order, BusinessModel("user", principal=True))
        await other.put_models(SCOPE, [replace(order, enforce=False)])
        assert (await store.models(SCOPE))[0] == replace(order, enforce=False)
        assert [change.kind for change in await collect(store, cursor, 2)] == ["models", "models"]

    @scenario
    async def test_policies_are_revised_one_after_another(self, store: Store, other: Store) -> None:
        """Each revision replaces the one it names; history has all, newest first, without programs."""
        cursor = await store.cursor()
        assert await store.policies(SCOPE) is None
        first = await store.put_policies(SCOPE, PolicyRevision(0, {"rules": [1]}, {"a.yaml": "kind: é\n"}, "ann"))
        assert (first.revision, first.author, bool(first.created_at)) == (1, "ann", True)
        second = await other.put_policies(SCOPE, replace(first, programs={"rules": []}, created_at="2026-01-01"))
        assert (second.revision, second.created_at) == (2, "2026-01-01")
        assert await store.policies(SCOPE) == second
        assert await store.policies(SCOPE, 1) == first
        assert await store.policies(SCOPE, 3) is None
        assert await store.policy_history(SCOPE) == (replace(second, programs={}), replace(first, programs={}))
        assert await store.policy_history(SCOPE, limit=1) == (replace(second, programs={}),)
        assert [change.kind for change in await collect(other, cursor, 2)] == ["policies", "policies"]

    @scenario
    async def test_a_policy_revision_is_published_once(self, store: Store, other: Store) -> None:
        """Of two who replace one revision, one succeeds and the other hears which revision is there."""
        racing = [handle.put_policies(SCOPE, PolicyRevision(0, {})) for handle in (store, other, store, other)]
        outcomes = await asyncio.gather(*racing, return_exceptions=True)
        lost = [outcome for outcome in outcomes if isinstance(outcome, RevisionConflict)]
        assert [(conflict.expected, conflict.actual) for conflict in lost] == [(0, 1)] * 3
        with pytest.raises(RevisionConflict):
            await store.put_policies(SCOPE, PolicyRevision(5, {}))
        assert len(await store.policy_history(SCOPE)) == 1

    @scenario
    async def test_endpoints_live_as_long_as_their_leases(self, store: Store, other: Store) -> None:
        """An endpoint is there from its registration until its lease runs out or it is taken away; in order of registration."""
        first, second = (
            Endpoint("shop", f"http://127.0.0.1:{port}", version=f"v{port}", labels={"a": "é"}) for port in (2, 1)
        )
        await store.register(SCOPE, first, ttl=60)
        await other.register(SCOPE, second, ttl=60)
        await store.register(SCOPE, first, ttl=60)
        assert await other.endpoints(SCOPE) == (first, second)
        changed = replace(first, weight=5)
        await store.register(SCOPE, changed, ttl=60)
        assert await other.endpoints(SCOPE) == (changed, second)
        await other.deregister(SCOPE, first)
        await other.deregister(SCOPE, first)
        assert await store.endpoints(SCOPE) == (second,)
        await store.register(SCOPE, first, ttl=0.05)
        async with asyncio.timeout(PATIENCE):
            while await other.endpoints(SCOPE) != (second,):
                await asyncio.sleep(0.02)

    @scenario
    async def test_watchers_hear_of_endpoints_that_come_change_and_go(self, store: Store) -> None:
        """Watchers hear of new, changed and removed endpoints, and not of renewed leases."""
        cursor = await store.cursor()
        endpoint = Endpoint("shop", "http://127.0.0.1:1")
        for registered in (endpoint, endpoint, replace(endpoint, weight=2)):
            await store.register(SCOPE, registered, ttl=60)
        await store.deregister(SCOPE, endpoint)
        await store.put_key(SCOPE, SigningKey("end", bytes(16)))
        kinds = [change.kind for change in await collect(store, cursor, 4)]
        assert kinds == ["services", "services", "services", "keys"]

    @scenario
    async def test_keys_are_newest_first(self, store: Store, other: Store) -> None:
        """The key that was added last is first; adding one again makes it the newest."""
        for kid in ("a", "b", "c"):
            await store.put_key(SCOPE, SigningKey(kid, kid.encode() * 32))
        assert await other.keys(SCOPE) == tuple(SigningKey(kid, kid.encode() * 32) for kid in ("c", "b", "a"))
        await store.put_key(SCOPE, SigningKey("a", b"new" * 8))
        assert await other.keys(SCOPE) == (
            SigningKey("a", b"new" * 8),
            SigningKey("c", b"c" * 32),
            SigningKey("b", b"b" * 32),
        )

    @scenario
    async def test_retain_erases_what_has_not_changed_for_long(self, store: Store) -> None:
        """Entities of one model whose last change is older than a moment go, with their history, and watchers hear of each."""
        await store.append([move("old"), move("kept"), move("u", model="user"), move("x", outcome=Outcome.ABORTED)])
        await asyncio.sleep(0.02)
        moment = datetime.now(UTC)
        await asyncio.sleep(0.02)
        await store.append([move("kept", "paid"), move("new")])
        cursor = await store.cursor()
        assert await store.retain(SCOPE, "order", moment) == 1
        assert [context.entity_id for context in (await store.list(SCOPE, "order")).contexts] == ["kept", "new"]
        assert await store.history(SCOPE, EntityRef("order", "old")) == ()
        assert await store.history(SCOPE, EntityRef("order", "x")) == ()
        assert len(await store.history(SCOPE, EntityRef("order", "kept"))) == 2
        assert await context_of(store, EntityRef("user", "u")) is not None
        (change,) = await collect(store, cursor, 1)
        assert (change.kind, change.ref) == ("forgotten", EntityRef("order", "old"))
        assert await store.retain(SCOPE, "order", moment) == 0
        assert await store.retain(SCOPE, "order", datetime.now(UTC) + timedelta(hours=1)) == 2

    @scenario
    async def test_forget_erases_an_entity_and_tells(self, store: Store, other: Store) -> None:
        """Forgetting gives a receipt, leaves neither context nor history, and every watcher hears of it."""
        cursor = await other.cursor()
        await store.append([move(), move(to_state="paid"), move("o-2")])
        receipt = await store.forget(SCOPE, ORDER)
        assert (receipt.ref, receipt.contexts, receipt.transitions) == (ORDER, 1, 2)
        assert await context_of(other) is None
        assert await other.history(SCOPE, ORDER) == ()
        assert await context_of(other, EntityRef("order", "o-2")) is not None
        changes = await collect(other, cursor, 2)
        assert [change.ref for change in changes if change.kind == "forgotten"] == [ORDER]
        again = await store.forget(SCOPE, ORDER)
        assert (again.contexts, again.transitions) == (0, 0)

    @scenario
    async def test_what_was_forgotten_does_not_come_back_by_a_retry(self, store: Store) -> None:
        """An event that is delivered once more after its entity was forgotten changes nothing; a new event begins at revision 1."""
        sent = move()
        await store.append([sent])
        await store.forget(SCOPE, ORDER)
        assert statuses(await store.append([sent])) == [DUPLICATE]
        assert await context_of(store) is None
        assert await store.append([move()]) == (AppendResult(APPLIED, 1),)

    @scenario
    async def test_a_store_may_be_closed_twice_and_opened_again(self, store: Store) -> None:
        """Closing again does nothing, and opening again finds what was stored."""
        await store.append([move()])
        await store.close()
        await store.close()
        await store.open()
        assert (await context_of(store) is not None) or not self.remembers
