"""The common decorated call, flat: one named model, one static state, nothing unusual on the way.

What ``calls`` does in forty small functions costs five times the budget of a call in a language where a function call
costs 50 ns. So the usual case is written out here once more, in two functions that do the same. Whatever is not usual
is left to the general path, before anything was done: ``begin`` hands over to it, and ``commit`` turns the call into a
general one. ``tests/test_quick.py`` holds the two to each other; ``docs/decisions/0004-quick-calls.md`` says more.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from opentelemetry.trace import INVALID_SPAN, get_current_span

from mcp_sdk import telemetry as spans
from mcp_sdk.calls import Call, Frame
from mcp_sdk.context import (
    NO_ATTRIBUTES,
    EntityRef,
    ModelContext,
    NewContext,
    NewTransition,
    Outcome,
    Transition,
    Trust,
)
from mcp_sdk.current import Record
from mcp_sdk.declarations import Plan
from mcp_sdk.models import Value
from mcp_sdk.moves import Capturer, differing, fresh_context
from mcp_sdk.reading import Facts, Reader

__all__ = ["QuickCall", "QuickPlan"]

_new = object.__new__
_ref = tuple.__new__
_LOCAL, _COMMITTED = Trust.LOCAL, Outcome.COMMITTED
_PLAIN_IDS = frozenset({int, UUID})


class QuickPlan:
    """A plan whose calls may be quick, with all that is the same for each of them."""

    __slots__ = (
        "checked",
        "environment",
        "ids",
        "kind",
        "mesh",
        "model",
        "name",
        "namespace",
        "operation",
        "plan",
        "readers",
        "source",
        "target",
    )

    def __init__(self, mesh: Capturer, plan: Plan, target: str) -> None:
        model = plan.model
        assert model is not None
        self.mesh: Capturer = mesh
        self.plan: Plan = plan
        self.model = model
        self.name: str = model.name
        self.target: str = target
        self.kind: type | None = model.python_type
        self.ids = plan.id_slots
        self.readers: dict[type, Reader] = {}
        self.checked: bool = bool(model.transitions or plan.declaration.from_states)
        who = mesh.identity
        self.source: str = who.service
        self.namespace: str = who.namespace
        self.environment: str = who.environment
        self.operation: str = plan.declaration.operation

    @classmethod
    def of(cls, mesh: Capturer, plans: list[Plan]) -> QuickPlan | None:
        """Give the quick form of a function's plans, or None where each call has to be looked at."""
        if len(plans) != 1 or plans[0].model is None or plans[0].model.pseudonymise:
            return None
        declaration = plans[0].declaration
        if not declaration.carry or declaration.id is not None or not isinstance(declaration.state, str):
            return None
        return cls(mesh, plans[0], declaration.state)


class QuickCall(Call):
    """A running call of the usual kind."""

    __slots__ = ("_attributes", "_before", "_plan", "_raw", "_reader", "_ref", "_show", "_subject")

    _attributes: Mapping[str, Value]
    _before: ModelContext
    _plan: QuickPlan
    _raw: tuple[Any, ...]
    _reader: Reader | None
    _ref: EntityRef
    _show: ModelContext
    _subject: Any

    @staticmethod
    def start(  # noqa: C901, PLR0912, PLR0915 - flat for speed: see the module's first lines
        plan: QuickPlan, outer: Record | None, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> QuickCall | None:
        """Begin a call, or give None for one that the general path has to begin."""
        mesh = plan.mesh
        subject: Any = None
        reader = None
        raw: tuple[Any, ...] = ()
        attributes: Any = NO_ATTRIBUTES
        state = None
        kind = plan.kind
        if kind is not None:
            for value in args:
                if isinstance(value, kind):
                    subject = value
                    break
            else:
                for value in kwargs.values():
                    if isinstance(value, kind):
                        subject = value
                        break
        if subject is not None:
            reader = plan.readers.get(type(subject))
            if reader is None:
                reader = plan.readers[type(subject)] = mesh.models.reader(plan.model, type(subject))
            raw = reader.get(subject)
            entity_id, state = raw[0], raw[1]
            if type(entity_id) is not str:
                if type(entity_id) not in _PLAIN_IDS:
                    return None
                entity_id = str(entity_id)
            if reader.quick:
                attributes = {}
                for index, name, expected in reader.quick:
                    value = raw[index]
                    if type(value) is expected:
                        attributes[name] = value
                    elif value is not None:
                        attributes[name] = plan.model.attributes[name].capture(value)
        else:
            entity_id = None
            for position, parameter, _ in plan.ids:
                entity_id = args[position] if position < len(args) else kwargs.get(parameter)
                if entity_id is not None:
                    break
            if type(entity_id) is not str:
                if type(entity_id) not in _PLAIN_IDS:
                    return None
                entity_id = str(entity_id)
        if not entity_id:
            return None
        name = plan.name
        ref = _ref(EntityRef, (name, entity_id))
        known = mesh.last_known(ref)
        if outer is None:
            work = Record(mesh)
        else:
            held = outer.settled.get(name) or outer.contexts.get(name)
            if (
                held is not None
                and held is not known
                and held.entity_id == entity_id
                and held.trust.counts
                and (known is None or held.rank > known.rank)
            ):
                known = held
            work = outer.fork()
        if work.pending:
            return None
        if known is None:
            if state is not None and type(state) is not str:
                state = reader.facts(raw).state if reader is not None else None
            known = fresh_context(mesh, ref, state)
            merged = attributes
        else:
            state = known.state
            merged = known.attributes
            if attributes and merged != attributes:
                merged = {**merged, **attributes}
        if plan.checked and not _expected(plan, state):
            return None
        shown: Any = _new(NewContext)
        shown.model = name
        shown.entity_id = entity_id
        shown.state = plan.target
        shown.attributes = merged
        shown.revision = known.revision
        shown.tentative = True
        shown.observed_at = shown.entered_at = None
        shown.source = plan.source
        shown.trust = _LOCAL
        shown._facts = None  # noqa: SLF001 - it is a context in the making
        shown.__class__ = ModelContext
        work.contexts[name] = shown
        work.settled[name] = known
        self = _new(QuickCall)
        self.outer = outer
        self.work = work
        self._mesh = mesh
        self._plan = plan
        self._subject = subject
        self._reader = reader
        self._raw = raw
        self._attributes = attributes
        self._ref = ref
        self._before = known
        self._show = shown
        self._began = mesh.runtime.clock.monotonic()
        return self

    def commit(self, result: Any) -> None:
        """Publish what the call changed. Never raises."""
        plan, mesh, work = self._plan, self._mesh, self.work
        try:
            if (
                work.moved
                or work.contexts.get(plan.name) is not self._show
                or (self._reader is not None and not self._unchanged(self._reader))
            ):
                self._generalise()
                super().commit(result)
                return
            before, runtime, attributes = self._before, mesh.runtime, self._attributes
            clock = runtime.clock
            event: Any = _new(NewTransition)
            event.model = plan.name
            event.entity_id = self._ref[1]
            event.to_state = plan.target
            event.event_id = runtime.ids()
            event.from_state = before.state
            event.attributes = differing(attributes, before.attributes) if attributes else attributes
            event.outcome = _COMMITTED
            event.base_revision = None if before.tentative or not before.revision else before.revision
            event.batch_id = ""
            event.namespace = plan.namespace
            event.environment = plan.environment
            event.observed_at = clock.now()
            event.source = plan.source
            event.operation = plan.operation
            event.cause = ""
            event.duration = clock.monotonic() - self._began
            event.trace_id = "" if get_current_span() is INVALID_SPAN else spans.trace_id()
            event.__class__ = Transition
            outer = self.outer
            work.settled[plan.name] = self._show
            work.moved.add(self._ref)
            mesh.commit(outer or work, (event,), (self._subject,))
            if outer is not None:
                outer.merge(work, own=(plan.name,))
            elif work.pending:
                work.keep_pending()
        except Exception as failure:  # noqa: BLE001 - capture never breaks the business call
            mesh.telemetry.failed("capture", failure)

    def abort(self, error: BaseException) -> None:
        """Publish that the call failed, and move to ``on_error`` where the decorator says so. Never raises."""
        self._generalise()
        super().abort(error)

    def _unchanged(self, reader: Reader) -> bool:
        try:
            return reader.comparable and bool(self._raw == reader.get(self._subject))
        except Exception:  # noqa: BLE001 - values of the user's may refuse to be read or compared
            return False

    def _generalise(self) -> None:
        """Become a general call that stands where this one does."""
        frame = Frame(self._plan.plan.declaration, self._plan.model, self._subject, None)
        frame.reader, frame.raw = self._reader, self._raw
        if self._reader is not None:
            frame.facts = Facts(self._ref.entity_id, self._reader.state_text(self._raw[1]), self._attributes)
        frame.start(self._before, self._show, new=False)
        self._frames = [frame]


def _expected(plan: QuickPlan, start: str | None) -> bool:
    if start is None:
        return True
    froms = plan.plan.declaration.from_states
    return (not froms or start in froms) and plan.model.allows(start, plan.target)
