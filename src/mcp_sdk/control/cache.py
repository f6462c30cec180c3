"""The newest context of each entity that this process knows, its own unstored changes on top."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from threading import Lock

from mcp_sdk.context import EntityRef, ModelContext, Outcome, Transition, Trust
from mcp_sdk.ports import AppendResult, AppendStatus, Applied

__all__ = ["ContextCache"]

CACHE_SIZE = 10_000
_DONE = frozenset({AppendStatus.APPLIED, AppendStatus.DUPLICATE})


@dataclass(frozen=True, slots=True)
class _Chain:
    """Own changes of one entity with nobody's between: what saw ``state`` on ``base`` stands on ``revision``."""

    base: int
    revision: int
    state: str | None


@dataclass(slots=True)
class _Entry:
    """``stored`` is what the store is known to hold; ``whole`` is False while some of its attributes may be missing."""

    stored: ModelContext | None = None
    whole: bool = True
    pending: list[Transition] = field(default_factory=list)
    chain: _Chain | None = None
    view: ModelContext | None = None


class ContextCache:
    """Read-your-writes for one scope. Safe from any thread; ``size`` entities at most, least recently used first out.

    Contexts are ordered by ``rank``: an own change on top of 7 (``7+``) beats a stored 7, and 8 beats ``7+``, unless 8
    is known to be an earlier change of this process.
    """

    def __init__(self, size: int = CACHE_SIZE) -> None:
        self._size = size
        self._lock = Lock()
        self._entries: OrderedDict[EntityRef, _Entry] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def known(self, ref: EntityRef) -> ModelContext | None:
        """Give the newest context of an entity, or None."""
        if ref not in self._entries:
            return None
        with self._lock:
            entry = self._entries.get(ref)
            if entry is None:
                return None
            self._entries.move_to_end(ref)
            if entry.view is None:
                entry.view = _view(ref, entry)
            return entry.view

    def push(self, transition: Transition) -> None:
        """Put an own change, not stored yet, on top."""
        if transition.outcome is not Outcome.COMMITTED or not transition.entity_id:
            return
        with self._lock:
            entry = self._entries.get((transition.model, transition.entity_id))  # type: ignore[call-overload]
            if entry is None:
                entry = self._entry(transition.ref)
            entry.pending.append(transition)
            entry.view = None

    def withdraw(self, transition: Transition) -> None:
        """Take back an own change that will never be stored."""
        with self._lock:
            entry = self._entries.get(transition.ref)
            if entry is not None:
                _remove(entry, transition.event_id)
                self._tidy(transition.ref, entry)

    def settle(self, transition: Transition, result: AppendResult) -> bool:
        """Take in what the store made of an own change; True means that the store's context is to be looked up."""
        with self._lock:
            entry = self._entries.get(transition.ref)
            if entry is None:
                return False
            _remove(entry, transition.event_id)
            if result.status in _DONE:
                _advance(entry, transition, result.revision)
            stale = result.status is not AppendStatus.LOGGED and (_revision(entry) < result.revision or not entry.whole)
            self._tidy(transition.ref, entry)
            return stale

    def put(self, contexts: Iterable[ModelContext]) -> None:
        """Take in contexts as the store holds them; an older one than is known changes nothing."""
        with self._lock:
            for context in contexts:
                entry = self._entry(context.ref)
                if entry.stored is None or context.revision >= entry.stored.revision:
                    entry.stored, entry.whole, entry.view = context, True, None

    def observe(self, applied: Applied) -> None:
        """Take in a change from a watch, for an entity that is held; what is late or older changes nothing."""
        if applied.status is not AppendStatus.APPLIED:
            return
        context, transition = applied.context, applied.transition
        with self._lock:
            entry = self._entries.get(context.ref)
            if entry is None:
                return
            if _remove(entry, transition.event_id):
                _advance(entry, transition, context.revision)
            if context.revision > _revision(entry) or (context.revision == _revision(entry) and not entry.whole):
                entry.stored, entry.whole = context, True
            entry.view = None

    def based(self, unit: tuple[Transition, ...]) -> tuple[Transition, ...]:
        """Give transitions as they are to be sent: those made on top of own changes name the revision these got."""
        after: dict[EntityRef, int | None] = {}
        based = []
        for transition in unit:
            if transition.base_revision is not None:
                base = after[transition.ref] if transition.ref in after else self._base(transition)
                after[transition.ref] = None if base is None else base + 1
                moved = base != transition.base_revision
                based.append(replace(transition, base_revision=base) if moved else transition)
            else:
                after[transition.ref] = None
                based.append(transition)
        return tuple(based)

    def forget(self, ref: EntityRef) -> None:
        """Drop what the store held of an entity."""
        with self._lock:
            entry = self._entries.get(ref)
            if entry is not None:
                entry.stored, entry.chain, entry.view = None, None, None
                self._tidy(ref, entry)

    def clear(self) -> None:
        """Drop everything but own unstored changes."""
        for ref in list(self._entries):
            self.forget(ref)

    def _base(self, transition: Transition) -> int | None:
        with self._lock:
            entry = self._entries.get(transition.ref)
            return transition.base_revision if entry is None else _base(entry, transition)

    def _entry(self, ref: EntityRef) -> _Entry:
        entry = self._entries.get(ref)
        if entry is None:
            entry = self._entries[ref] = _Entry()
            if len(self._entries) > self._size:
                self._evict()
        else:
            self._entries.move_to_end(ref)
        return entry

    def _evict(self) -> None:
        for _ in range(8):
            ref, entry = next(iter(self._entries.items()))
            if not entry.pending:
                del self._entries[ref]
                return
            self._entries.move_to_end(ref)

    def _tidy(self, ref: EntityRef, entry: _Entry) -> None:
        entry.view = None
        if entry.stored is None and not entry.pending:
            self._entries.pop(ref, None)


def _revision(entry: _Entry) -> int:
    return entry.stored.revision if entry.stored is not None else 0


def _remove(entry: _Entry, event_id: str) -> bool:
    left = [transition for transition in entry.pending if transition.event_id != event_id]
    removed = len(left) != len(entry.pending)
    entry.pending = left
    return removed


def _base(entry: _Entry, transition: Transition) -> int | None:
    base, chain = transition.base_revision, entry.chain
    if base is None or chain is None or not chain.base <= base < chain.revision:
        return base
    return chain.revision if transition.from_state in (None, chain.state) else base


def _advance(entry: _Entry, transition: Transition, revision: int) -> None:
    """Make an own change, stored as ``revision``, part of what the store is known to hold."""
    earlier = _revision(entry)
    if revision <= earlier:
        return
    entry.whole = revision == 1 or (revision == earlier + 1 and entry.whole)
    entry.stored = _on_top(transition, entry.stored, revision, tentative=False)
    chain, base = entry.chain, transition.base_revision
    start = revision - 1 if base is None else min(base, revision - 1)
    if chain is not None and chain.revision == revision - 1 and start >= chain.base:
        start = chain.base
    entry.chain = _Chain(start, revision, entry.stored.state)


def _on_top(transition: Transition, below: ModelContext | None, revision: int, *, tentative: bool) -> ModelContext:
    state = transition.to_state
    return ModelContext(
        transition.model,
        transition.entity_id,
        below.state if state is None and below is not None else state,
        {**below.attributes, **transition.attributes} if below is not None else transition.attributes,
        revision,
        tentative,
        transition.observed_at,
        transition.source,
        Trust.LOCAL if tentative else Trust.STORE,
    )


def _view(ref: EntityRef, entry: _Entry) -> ModelContext | None:
    del ref
    view = entry.stored
    for transition in entry.pending:
        revision = view.revision if view is not None else 0
        base = _base(entry, transition)
        if base is None or base >= revision:
            view = _on_top(transition, view, revision if base is None else base, tentative=True)
    return view
