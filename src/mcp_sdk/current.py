"""What the work at hand is about: one mutable record in a ``ContextVar``.

The record is set once for a request and mutated from then on, because a ``ContextVar.set()`` in a synchronous handler
is invisible to the middleware around it. Threads started by the application begin without one; ``carried`` takes it
along.

Where nothing was begun here, the record may stand beneath: in OpenTelemetry's context, where the propagator put what a
message told (``mcp_sdk.transports.propagation``).
"""

from __future__ import annotations

import contextvars
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, ParamSpec, TypeVar

from mcp_sdk.context import EntityRef, ModelContext, Transition
from mcp_sdk.decisions import ANONYMOUS, Decision, Principal, RequestFacts, Source

__all__ = [
    "CallFacts",
    "Record",
    "activate",
    "beneath",
    "carried",
    "decision",
    "forget",
    "held",
    "install",
    "installed",
    "look_beneath",
    "principal",
    "record",
    "record_or_new",
    "run",
    "set_record",
    "use",
]

P = ParamSpec("P")
T = TypeVar("T")


_NOWHERE = Source()
_NO_REQUEST = RequestFacts()


class CallFacts:
    """What enforcement learned of the request that the work belongs to."""

    __slots__ = ("decision", "operation", "principal", "request", "source")

    def __init__(
        self,
        principal: Principal = ANONYMOUS,
        source: Source = _NOWHERE,
        decision: Decision | None = None,
        request: RequestFacts = _NO_REQUEST,
        operation: str = "",
    ) -> None:
        self.principal: Principal = principal
        self.source: Source = source
        self.decision: Decision | None = decision
        self.request: RequestFacts = request
        self.operation: str = operation


class Record:
    """Everything known of one request or other piece of work.

    ``contexts`` holds the newest context of each model that the work is about, tentative ones included: what calls
    carry. ``settled`` holds, for models whose entity a running call shows in a tentative state, what is true until it
    commits. ``others`` are baggage members that are not ours, verbatim. ``pending`` are transitions that wait for the
    outermost commit of a database transaction. ``references`` are entities that the work named. ``moved`` are those
    that changed. ``call`` is what the request's middleware learned of it: principal, source, decision.
    """

    __slots__ = ("_call", "contexts", "mesh", "moved", "others", "pending", "references", "settled")

    def __init__(self, mesh: Any = None) -> None:
        self.mesh: Any = mesh
        self._call: CallFacts | None = None
        self.contexts: dict[str, ModelContext] = {}
        self.settled: dict[str, ModelContext] = {}
        self.references: dict[str, EntityRef] = {}
        self.others: tuple[str, ...] = ()
        self.pending: list[Transition] = _loose.get() or []
        self.moved: set[EntityRef] = set()

    @property
    def call(self) -> CallFacts:
        """What the request's middleware learned."""
        if self._call is None:
            self._call = CallFacts()
        return self._call

    @call.setter
    def call(self, learned: CallFacts) -> None:
        self._call = learned

    def fork(self) -> Record:
        """Give a record for work inside this one: it sees all, and what it puts stays there until it is merged."""
        child = _new(Record)
        child.mesh, child.others = self.mesh, self.others
        child._call = self.call  # noqa: SLF001 - made of this very class
        child.pending, child.references = self.pending, self.references
        child.contexts, child.settled = self.contexts.copy(), self.settled.copy()
        child.moved = set()
        return child

    def merge(self, child: Record, *, own: Iterable[str] = ()) -> None:
        """Take over what a fork learned: contexts of entities that this work is about, or of models it knew nothing of.

        ``own`` are the models whose entity the child named itself: such an entity is not the one that this work is
        about and that has no id yet.
        """
        mine = self.contexts
        for model, context in child.contexts.items():
            held = mine.get(model)
            if held is None or held.entity_id == context.entity_id or (not held.entity_id and model not in own):
                mine[model] = context
                if model in self.settled and context.ref in child.moved:
                    self.settled[model] = context
        if child.moved:
            self.moved |= child.moved

    def put(self, context: ModelContext) -> None:
        """Make a context the one that the work is about."""
        self.contexts[context.model] = context

    def move(self, after: ModelContext) -> None:
        """Take note that an entity moved; calls carry it if the work was about it already."""
        held = self.contexts.get(after.model)
        if held is not None and held.entity_id == after.entity_id:
            self.contexts[after.model] = after
            if after.model in self.settled:
                self.settled[after.model] = after
        self.moved.add(after.ref)

    def restore(self, model: str, context: ModelContext | None) -> None:
        """Put back what ``contexts`` held for a model before."""
        if context is None:
            self.contexts.pop(model, None)
        else:
            self.contexts[model] = context

    def keep_pending(self) -> None:
        """Let later records of this thread or task, which has none around them, see what waits for a commit."""
        _loose.set(self.pending)

    def view(self) -> Mapping[str, ModelContext]:
        """Give the contexts as they are now, unaffected by what comes after."""
        return dict(self.contexts)


_new = object.__new__
_loose: ContextVar[list[Transition] | None] = ContextVar("mcp_sdk_pending", default=None)
_record: ContextVar[Record | None] = ContextVar("mcp_sdk_record", default=None)
_installed: list[Any] = []
beneath: list[Callable[[], Record | None]] = []
"""What ``record`` asks where none is held; empty until the propagator has extracted something, so nobody else pays."""

held = _record.get
"""Gives the record that was made the one of the work at hand in this thread or task, or None."""

set_record = _record.set
"""Makes another record the one of the work at hand, or None of them; what it replaces is what ``held`` gives."""


def record() -> Record | None:
    """Give the record of the work at hand, or None outside any: the one that is held, else one that stands beneath."""
    found = _record.get()
    return beneath[0]() if found is None and beneath else found


def look_beneath(find: Callable[[], Record | None]) -> None:
    """Have ``find`` give the record of the work at hand where none is held."""
    beneath[:] = [find]


def record_or_new(mesh: Any = None) -> Record:
    """Give the record of the work at hand, beginning one in this context where there is none."""
    found = record()
    if found is None:
        found = Record(mesh if mesh is not None else installed())
        _record.set(found)
    return found


def decision() -> Decision | None:
    """Give the decision that let the request at hand through; None outside any, and where the mesh is off."""
    work = _record.get()
    return work.call.decision if work is not None else None


def principal() -> Principal:
    """Give who calls; ``ANONYMOUS`` for nobody, and outside any request."""
    work = _record.get()
    return work.call.principal if work is not None else ANONYMOUS


def forget() -> None:
    """Begin with nothing in this context, as a new thread does; for tests."""
    _record.set(None)
    _loose.set(None)


def activate(work: Record | None) -> Record | None:
    """Make ``work`` the record from here on, and give the one that was held, to be put back the same way."""
    before = _record.get()
    _record.set(work)
    return before


def run(work: Record, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a function with ``work`` as the record; for one step of many, like ``next``, wherever each of them runs."""
    outer = activate(work)
    try:
        return function(*args, **kwargs)
    finally:
        activate(outer)


@contextmanager
def use(work: Record) -> Iterator[Record]:
    """Make ``work`` the record inside the block."""
    token = _record.set(work)
    try:
        yield work
    finally:
        _record.reset(token)


def install(mesh: Any) -> Callable[[], None]:
    """Make a started mesh the one that decorators outside any request use; the returned function ends that."""
    if mesh not in _installed:
        _installed.append(mesh)

    def uninstall() -> None:
        if mesh in _installed:
            _installed.remove(mesh)

    return uninstall


def installed() -> Any:
    """Give the mesh that was started last in this process, or None."""
    return _installed[-1] if _installed else None


def carried(function: Callable[P, T]) -> Callable[P, T]:
    """Give ``function`` bound to the record of the caller, for threads and executors (``submit(carried(work))``)."""
    context = contextvars.copy_context()

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        return context.copy().run(function, *args, **kwargs)

    return call
