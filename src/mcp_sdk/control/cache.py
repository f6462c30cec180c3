"""The newest context of each entity that this process knows, its own unstored changes on top."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from threading import Lock
from types import TracebackType
from typing import Self

from mcp_sdk.context import EntityRef, ModelContext, Outcome, Transition, Trust
from mcp_sdk.ports import AppendResult, AppendStatus, Applied

__all__ = ["ContextCache", "Flight"]

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
    """``stored`` is what the store is known to hold; ``whole`` is False while some of its attributes may be missing.

    ``watched`` says that every change after ``stored`` is told. Of ``flying`` look-ups, the answer counts for nothing
    where the entity was ``erased`` meanwhile, and for this moment only where it was ``released``.
    """

    watched: bool
    stored: ModelContext | None = None
    whole: bool = True
    pending: list[Transition] = field(default_factory=list)
    chain: _Chain | None = None
    view: ModelContext | None = None
    flying: int = 0
    erased: bool = False
    released: bool = False


class ContextCache:
    """Read-your-writes for one scope. Safe from any thread; ``size`` entities at most, least recently used first out.

    Contexts are ordered by ``rank``: an own change on top of 7 (``7+``) beats a stored 7, and 8 beats ``7+``, unless 8
    is known to be an earlier change of this process.

    What ``known`` gives as stored is watched: every change after it is told by ``observe``, ``forget``, ``release`` or
    ``clear``. With ``everything``, whoever watches hears of each entity; else only of those that were looked up, and
    what only came of own changes is remembered for the next own change (``last_known``), and not given for decisions.
    Exempt are own changes on their way, and the time while nobody tells anything (``adrift``): then what was known
    last goes on.
    """

    def __init__(self, size: int = CACHE_SIZE, *, everything: bool = True) -> None:
        self._size, self._everything = size, everything
        self.adrift: bool = not everything
        self._lock = Lock()
        self._entries: OrderedDict[EntityRef, _Entry] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def known(self, ref: EntityRef) -> ModelContext | None:
        """Give the newest context of an entity, or None where a newer one may be stored that nobody told of."""
        entry = self._entries.get(ref)
        if entry is None or not (entry.watched or entry.pending or self.adrift):
            return None
        return self.last_known(ref)

    def last_known(self, ref: EntityRef) -> ModelContext | None:
        """Give the newest context that was ever known; the store refuses a change on top of an outdated one."""
        if ref not in self._entries:
            return None
        with self._lock:
            entry = self._entries.get(ref)
            if entry is None:
                return None
            self._entries.move_to_end(ref)
            return _seen(entry)

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
        """Take in what the store made of an own change; True means that the store's context is to be looked up.

        Of an entity that is not watched it need not be, for whoever decides by it will: looking up what this process
        only publishes would double the store's work. But a change that came too late shows that others move it.
        """
        late = result.status is AppendStatus.LATE
        with self._lock:
            entry = self._entries.get(transition.ref)
            if entry is None:
                return False
            if _remove(entry, transition.event_id) and result.status in _DONE:
                _advance(entry, transition, result.revision)
            stale = result.status is not AppendStatus.LOGGED and (_revision(entry) < result.revision or not entry.whole)
            if not entry.watched:
                stale = late
                # whether a look-up on its way was read before it or after, and after an erasure, nobody knows
                entry.released = entry.flying > 0
                if late:
                    entry.stored = entry.chain = None
            self._tidy(transition.ref, entry)
            return stale

    def flight(self, refs: Iterable[EntityRef]) -> Flight:
        """Give a look-up to be made: what is told of its entities before it lands is newer than what it finds."""
        return Flight(self, refs)

    def observe(self, applied: Applied) -> None:
        """Take in a change from a watch, of an entity that is kept or looked up; an older one changes nothing."""
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
                entry.stored = entry.chain = None
                # an own change on its way may have been stored before that, and its answer come after
                entry.watched, entry.erased = False, entry.flying > 0
                self._tidy(ref, entry)

    def release(self, ref: EntityRef) -> None:
        """Hear that changes of an entity are told no longer."""
        with self._lock:
            entry = self._entries.get(ref)
            if entry is not None:
                entry.watched, entry.released = False, entry.flying > 0

    def clear(self) -> None:
        """Drop everything but own unstored changes."""
        for ref in list(self._entries):
            self.forget(ref)

    def depart(self, refs: Iterable[EntityRef]) -> dict[EntityRef, ModelContext | None]:
        """Begin a look-up; give what is stored of each entity that nobody watches."""
        with self._lock:
            return {ref: self._depart(ref) for ref in dict.fromkeys(refs)}

    def land(
        self, left: Mapping[EntityRef, ModelContext | None], found: Mapping[EntityRef, ModelContext] | None
    ) -> dict[EntityRef, ModelContext]:
        """End a look-up that ``depart`` began; give the newest of each entity. ``found`` is None where it failed."""
        with self._lock:
            newest = {ref: self._land(ref, before, found) for ref, before in left.items()}
        return {ref: context for ref, context in newest.items() if context is not None}

    def _depart(self, ref: EntityRef) -> ModelContext | None:
        entry = self._entry(ref)
        entry.flying += 1
        return None if entry.watched else entry.stored

    def _land(
        self, ref: EntityRef, before: ModelContext | None, found: Mapping[EntityRef, ModelContext] | None
    ) -> ModelContext | None:
        entry = self._entries[ref]
        context = None if found is None or entry.erased else found.get(ref)
        if found is not None and not entry.erased:
            _merge(entry, before, context)
            entry.watched = entry.watched or not (entry.released or entry.pending)
        newest = _seen(entry) or context
        entry.flying -= 1
        if not entry.flying:
            entry.erased = entry.released = False
        self._tidy(ref, entry)
        return newest

    def _base(self, transition: Transition) -> int | None:
        with self._lock:
            entry = self._entries.get(transition.ref)
            return transition.base_revision if entry is None else _base(entry, transition)

    def _entry(self, ref: EntityRef) -> _Entry:
        entry = self._entries.get(ref)
        if entry is None:
            if len(self._entries) >= self._size:
                self._evict()
            entry = self._entries[ref] = _Entry(self._everything)
        else:
            self._entries.move_to_end(ref)
        return entry

    def _evict(self) -> None:
        for _ in range(8):
            ref, entry = next(iter(self._entries.items()))
            if entry.pending or entry.flying:
                self._entries.move_to_end(ref)
                continue
            del self._entries[ref]
            if len(self._entries) < self._size:
                return

    def _tidy(self, ref: EntityRef, entry: _Entry) -> None:
        entry.view = None
        if entry.stored is None and not entry.pending and not entry.flying:
            self._entries.pop(ref, None)


class Flight:
    """One look-up on its way, as a context manager around it; ``land`` takes in what it found."""

    __slots__ = ("_cache", "_left", "_refs")

    def __init__(self, cache: ContextCache, refs: Iterable[EntityRef]) -> None:
        self._cache, self._refs = cache, tuple(refs)
        self._left: dict[EntityRef, ModelContext | None] = {}

    def __enter__(self) -> Self:
        self._left = self._cache.depart(self._refs)
        return self

    def land(self, found: Mapping[EntityRef, ModelContext]) -> dict[EntityRef, ModelContext]:
        """Take in contexts as the store held them; give the newest that is known of each entity."""
        left, self._left = self._left, {}
        return self._cache.land(left, found)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._cache.land(self._left, None)


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


def _merge(entry: _Entry, before: ModelContext | None, found: ModelContext | None) -> None:
    """Take in what a look-up found; ``before`` was stored as it departed, and nobody watched it."""
    stored = entry.stored
    outdated = stored is not None and stored is before
    if found is not None and (stored is None or found.revision >= stored.revision):
        entry.stored, entry.whole = found, True
    elif outdated:
        # erased, and perhaps made anew, while nobody told; or read from a copy that lags: the next one looks again
        entry.stored = entry.chain = None
    entry.view = None


def _seen(entry: _Entry) -> ModelContext | None:
    if entry.view is None:
        entry.view = _view(entry)
    return entry.view


def _view(entry: _Entry) -> ModelContext | None:
    view = entry.stored
    for transition in entry.pending:
        revision = view.revision if view is not None else 0
        base = _base(entry, transition)
        if base is None or base >= revision:
            view = _on_top(transition, view, revision if base is None else base, tentative=True)
    return view
