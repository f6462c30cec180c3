"""Laws of the stores, found out by random work: another store says and holds what the one in memory does."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from datetime import UTC, datetime
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from mcp_sdk.context import EntityRef, Outcome, Scope, Transition
from mcp_sdk.ports import Change, Store
from mcp_sdk.stores.memory import MemoryStore
from mcp_sdk.testing.stores import collect

__all__ = ["Agreement"]

PATIENCE = 20.0
WHEN = datetime(2026, 1, 1, tzinfo=UTC)
SCOPES = st.sampled_from([Scope(), Scope("a", "b")])
IDS = st.sampled_from(["", "a", "b", "é𝒪", "a/b"])
VALUES = st.one_of(st.integers(-(2**63), 2**63 - 1), st.text(max_size=3), st.booleans(), st.floats(allow_nan=False))


@st.composite
def transitions(draw: st.DrawFn) -> Transition:
    """Draw a transition that has a good chance of meeting others."""
    scope = draw(SCOPES)
    return Transition(
        model=draw(st.sampled_from(["order", "user"])),
        entity_id=draw(IDS),
        to_state=draw(st.sampled_from([None, "created", "paid"])),
        event_id=str(draw(st.integers(0, 60))),
        from_state=draw(st.sampled_from([None, "created"])),
        attributes=draw(st.dictionaries(st.sampled_from(["x", "y"]), VALUES, max_size=2)),
        outcome=draw(st.sampled_from([Outcome.COMMITTED, Outcome.COMMITTED, Outcome.COMMITTED, Outcome.ABORTED])),
        base_revision=draw(st.one_of(st.none(), st.integers(0, 4))),
        batch_id=draw(st.sampled_from(["", "", "1", "2"])),
        namespace=scope.namespace,
        environment=scope.environment,
        observed_at=WHEN,
    )


class Agreement(RuleBasedStateMachine):
    """Does the same to a store in memory and to another one, which ``make`` gives empty and not yet open.

    Subclass it, and name the subclass's ``TestCase`` ``Test…``.
    """

    def make(self) -> Store:
        """Give the other store."""
        raise NotImplementedError

    def clear(self) -> None:
        """Take away what the other store kept."""

    @initialize()
    def begin(self) -> None:
        self.runner = asyncio.Runner()
        self.memory, self.other = MemoryStore(), self.make()
        self.run(self.other.open())
        self.starts = [self.run(store.cursor()) for store in (self.memory, self.other)]
        self.reached, self.heard = self.starts
        self.look()

    def look(self) -> None:
        """Begin to watch the other store from where it was heard last, as after it was closed and opened."""
        self.live: Any = self.other.watch(self.heard)

    def teardown(self) -> None:
        if hasattr(self, "runner"):
            self.run(self.live.aclose())
            self.run(self.other.close())
            self.runner.close()
            self.clear()

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(work)

    def both(self, method: str, *args: Any, **options: Any) -> Any:
        ours, theirs = (self.run(getattr(store, method)(*args, **options)) for store in (self.memory, self.other))
        assert ours == theirs
        return ours

    @rule(sent=st.lists(transitions(), min_size=1, max_size=6))
    def append(self, sent: list[Transition]) -> None:
        """Append the same, and get the same answers."""
        self.both("append", sent)

    @rule(scope=SCOPES, state=st.sampled_from([None, "created", "paid"]), limit=st.integers(1, 3), after=IDS)
    def listing(self, scope: Scope, state: str | None, limit: int, after: str) -> None:
        """List the same page."""
        self.both("list", scope, "order", state=state, limit=limit, after=after)

    @rule(scope=SCOPES, entity_id=IDS)
    def forget(self, scope: Scope, entity_id: str) -> None:
        """Forget the same entity, with the same receipt."""
        self.both("forget", scope, EntityRef("order", entity_id))

    @rule(scope=SCOPES, entity_id=IDS, limit=st.integers(1, 5))
    def history(self, scope: Scope, entity_id: str, limit: int) -> None:
        """Tell the same history."""
        self.both("history", scope, EntityRef("order", entity_id), limit=limit)

    @invariant()
    def the_same_entities(self) -> None:
        """Hold the same contexts."""
        if hasattr(self, "runner"):
            for scope in (Scope(), Scope("a", "b")):
                self.both("list", scope, "order")
                self.both("list", scope, "user")

    @invariant()
    def the_same_changes_as_they_come(self) -> None:
        """Tell a watcher who is there all along the same changes, also of what this handle itself wrote."""
        if hasattr(self, "runner"):
            ours, theirs = self.run(self.news())
            assert list(map(_without_cursor, ours)) == list(map(_without_cursor, theirs))

    async def news(self) -> tuple[list[Change], list[Change]]:
        """Give the changes that came since this was asked, by the one and by the other."""
        ours, theirs, newest = list[Change](), list[Change](), await self.memory.cursor()
        async with asyncio.timeout(PATIENCE):
            while self.reached != newest:
                ours += await collect(self.memory, self.reached, 1)
                theirs.append(await anext(self.live))
                self.reached, self.heard = ours[-1].cursor, theirs[-1].cursor
        return ours, theirs

    @invariant()
    def the_same_changes(self) -> None:
        """Tell a watcher from the beginning the same changes."""
        if not hasattr(self, "runner"):
            return
        total = len(self.memory._log)
        ours, theirs = (
            self.run(collect(store, start, total))
            for store, start in zip((self.memory, self.other), self.starts, strict=True)
        )
        assert [_without_cursor(change) for change in ours] == [_without_cursor(change) for change in theirs]


def _without_cursor(change: Change) -> tuple[object, ...]:
    return (change.kind, change.scope, change.applied, change.ref)
