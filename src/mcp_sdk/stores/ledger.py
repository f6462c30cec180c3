"""The one rule of what a transition does to an entity, for every store.

A store brings the contexts and the event ids that its transaction read, calls ``settle``, and writes what comes back.
Pure: no I/O, no clock.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

from mcp_sdk.context import ModelContext, Outcome, Transition, Trust
from mcp_sdk.models import Value
from mcp_sdk.ports import AppendResult, AppendStatus, Applied

__all__ = ["EntityKey", "EventKey", "Ledger", "again", "entity_key", "event_key", "moved"]

EntityKey: TypeAlias = tuple[str, str, str, str]
"""Namespace, environment, model, entity id."""

EventKey: TypeAlias = tuple[str, str, str]
"""Namespace, environment, event id."""


def entity_key(transition: Transition) -> EntityKey:
    """Give the key of the entity that a transition is about."""
    return (transition.namespace, transition.environment, transition.model, transition.entity_id)


def event_key(transition: Transition) -> EventKey:
    """Give the key by which a transition is recognised when it comes again."""
    return (transition.namespace, transition.environment, transition.event_id)


class Ledger:
    """Settles transitions against what a store holds.

    ``contexts`` are the entities that the transitions name, as stored now; ``seen`` the results of those event ids that
    came before. After ``settle``, ``moved`` holds the new context of every entity that changed, and ``entries`` one
    ``Applied`` for each transition that the log has not yet, in order.
    """

    __slots__ = ("_contexts", "_seen", "_since", "entries", "moved")

    def __init__(self, contexts: Mapping[EntityKey, ModelContext], seen: Mapping[EventKey, AppendResult]) -> None:
        self._contexts = contexts
        self._seen = dict(seen)
        self._since: dict[EventKey, float] = {}
        self.moved: dict[EntityKey, ModelContext] = {}
        self.entries: list[Applied] = []

    def settle(self, transitions: Sequence[Transition]) -> tuple[AppendResult, ...]:
        """Give one result a transition, in order.

        A committed transition applies when ``base_revision`` is None or the entity's revision (0 means that there is no
        entity yet). The transitions of one ``batch_id`` in one scope apply all or none. Aborted ones, and those that
        name no entity, are only logged. An event id that came before gets the answer that it got then.
        """
        if not any(transition.batch_id for transition in transitions):
            return tuple(map(self._one, transitions))
        results: dict[int, AppendResult] = {}
        for group in _groups(transitions):
            results |= zip(group, self._batch([transitions[index] for index in group]), strict=True)
        return tuple(results[index] for index in range(len(transitions)))

    def _one(self, transition: Transition) -> AppendResult:
        event = event_key(transition)
        earlier = self._seen.get(event)
        return self._enter(event, self._try(transition, self.moved)) if earlier is None else again(earlier)

    def _batch(self, group: Sequence[Transition]) -> list[AppendResult]:
        fresh = {event_key(transition): transition for transition in group if event_key(transition) not in self._seen}
        staged: dict[EntityKey, ModelContext] = {}
        entries = [self._try(transition, staged) for transition in fresh.values()]
        if any(entry.status is AppendStatus.LATE for entry in entries):
            entries = [self._refused(transition) for transition in fresh.values()]
            for event in fresh:
                self._since.pop(event, None)
        else:
            self.moved.update(staged)
        first = {event: self._enter(event, entry) for event, entry in zip(fresh, entries, strict=True)}
        events = map(event_key, group)
        return [first.pop(event) if event in first else again(self._seen[event]) for event in events]

    def _enter(self, event: EventKey, entry: Applied) -> AppendResult:
        self.entries.append(entry)
        result = self._seen[event] = AppendResult(entry.status, entry.context.revision, self._since.get(event))
        return result

    def _try(self, transition: Transition, staged: dict[EntityKey, ModelContext]) -> Applied:
        key = entity_key(transition)
        current = staged.get(key) or self._current(key)
        if not _changes(transition):
            return Applied(transition, AppendStatus.LOGGED, current)
        if transition.base_revision is not None and transition.base_revision != current.revision:
            return Applied(transition, AppendStatus.LATE, current)
        after = staged[key] = moved(current, transition)
        if current.entered_at is not None and after.state != current.state:
            self._since[event_key(transition)] = (transition.observed_at - current.entered_at).total_seconds()
        return Applied(transition, AppendStatus.APPLIED, after)

    def _refused(self, transition: Transition) -> Applied:
        status = AppendStatus.LATE if _changes(transition) else AppendStatus.LOGGED
        return Applied(transition, status, self._current(entity_key(transition)))

    def _current(self, key: EntityKey) -> ModelContext:
        found = self.moved.get(key) or self._contexts.get(key)
        return ModelContext(key[2], key[3], trust=Trust.STORE) if found is None else found


def again(result: AppendResult) -> AppendResult:
    """Give the answer to an event that came before with ``result``: ``DUPLICATE`` for what was applied, else that."""
    return AppendResult(AppendStatus.DUPLICATE, result.revision) if result.status is AppendStatus.APPLIED else result


def moved(current: ModelContext, transition: Transition) -> ModelContext:
    """Give an entity's context after a transition, as a store holds it: one revision on, attributes merged."""
    state = current.state if transition.to_state is None else transition.to_state
    return ModelContext(
        transition.model,
        transition.entity_id,
        state,
        _merged(current.attributes, transition.attributes),
        current.revision + 1,
        False,
        transition.observed_at,
        transition.source,
        Trust.STORE,
        current.entered_at if state == current.state else transition.observed_at,
    )


def _merged(current: Mapping[str, Value], changed: Mapping[str, Value]) -> Mapping[str, Value]:
    if not current or not changed:
        return current or changed
    return {**current, **changed}


def _changes(transition: Transition) -> bool:
    return transition.outcome is Outcome.COMMITTED and transition.entity_id != ""


def _groups(transitions: Sequence[Transition]) -> Iterator[list[int]]:
    batches: dict[tuple[str, str, str], list[int]] = {}
    order: list[list[int]] = []
    for index, transition in enumerate(transitions):
        if not transition.batch_id:
            order.append([index])
            continue
        key = (transition.namespace, transition.environment, transition.batch_id)
        if key not in batches:
            order.append(batches.setdefault(key, []))
        batches[key].append(index)
    return iter(order)
