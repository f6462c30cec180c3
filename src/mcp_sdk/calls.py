"""One decorated call, sans I/O: what its entity is, what state it is on its way to, and what is published at its end.

``Call.begin`` puts a tentative context on a fork of the record; ``commit`` and ``abort`` turn it into transitions. The
drivers in ``capture`` only run the function between the two.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol, Self

from mcp_sdk import current
from mcp_sdk import telemetry as spans
from mcp_sdk.clock import Runtime
from mcp_sdk.config import Config
from mcp_sdk.context import EntityRef, ModelContext, Outcome, Transition, Trust
from mcp_sdk.declarations import Declaration, Plan, Subject
from mcp_sdk.exceptions import InvalidTransition, ModelError
from mcp_sdk.models import BusinessModel, Value
from mcp_sdk.ports import Identity
from mcp_sdk.registry import Registry
from mcp_sdk.telemetry import Telemetry

__all__ = ["Call", "Capturer", "Move", "captured_attributes", "make_transition", "moved_context"]


class Capturer(Protocol):
    """What capture needs of the mesh."""

    config: Config
    identity: Identity
    models: Registry
    runtime: Runtime
    telemetry: Telemetry

    @property
    def watching(self) -> bool:
        """Whether anything is captured at all."""

    def known(self, ref: EntityRef) -> ModelContext | None:
        """Give the newest context of an entity that this process knows."""

    def commit(self, work: current.Record, transitions: Sequence[Transition], subjects: Sequence[object] = ()) -> None:
        """Publish transitions now, or at the commit of the database transaction around the caller."""


class Move(NamedTuple):
    """A change of one entity that is to be published."""

    before: ModelContext
    to_state: str | None
    attributes: Mapping[str, Value]
    outcome: Outcome = Outcome.COMMITTED
    operation: str = ""
    cause: str = ""
    duration: float = 0.0
    batch_id: str = ""


def captured_attributes(model: BusinessModel, attributes: Mapping[str, Any]) -> dict[str, Value]:
    """Turn attributes given by name into program values; sensitive ones are left out.

    Raises ``ModelError`` for a value that does not fit, and for a name that the model does not declare (unless it declares
    none at all: then texts, numbers and bools are taken as they are).
    """
    if not model.attributes:
        return {name: value if isinstance(value, (str, bool, int, float)) else str(value) for name, value in attributes.items()}
    unknown = [name for name in attributes if name not in model.attributes]
    if unknown:
        known = ", ".join(sorted(model.attributes))
        raise ModelError(f"model {model.name!r} has no attribute {unknown[0]!r}. Declared: {known}.")
    declared = ((model.attributes[name], value) for name, value in attributes.items())
    return {spec.name: spec.capture(value) for spec, value in declared if not spec.sensitive}


def make_transition(mesh: Capturer, move: Move) -> Transition:
    """Make the event of a move."""
    before, who = move.before, mesh.identity
    return Transition(
        before.model,
        before.entity_id,
        move.to_state,
        mesh.runtime.ids(),
        before.state,
        move.attributes,
        move.outcome,
        None if before.tentative or not before.revision else before.revision,
        move.batch_id,
        who.namespace,
        who.environment,
        mesh.runtime.clock.now(),
        who.service,
        move.operation,
        move.cause,
        move.duration,
        spans.trace_id(),
    )


def moved_context(mesh: Capturer, move: Move) -> ModelContext:
    """Give an entity's context after a move that is not stored yet."""
    before = move.before
    return ModelContext(
        before.model,
        before.entity_id,
        move.to_state if move.to_state is not None else before.state,
        {**before.attributes, **move.attributes} if move.attributes else before.attributes,
        before.revision,
        True,  # noqa: FBT003 - positional for speed: this is on the path of every decorated call
        None,
        mesh.identity.service,
        Trust.LOCAL,
    )


class Frame:
    """One entity of one call."""

    __slots__ = ("before", "plan", "shown", "subject")

    def __init__(self, plan: Plan, subject: Subject, before: ModelContext) -> None:
        self.plan = plan
        self.subject = subject
        self.before = before
        self.shown = before


class Call:
    """A decorated call that is running."""

    __slots__ = ("_began", "_frames", "_mesh", "outer", "work")

    def __init__(self, mesh: Capturer) -> None:
        self._mesh = mesh
        self._frames: list[Frame] = []
        self.outer = current.record()
        self.work = self.outer.fork() if self.outer is not None else current.Record(mesh)
        self._began = mesh.runtime.clock.monotonic()

    @classmethod
    def begin(cls, mesh: Capturer, plans: Sequence[Plan], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Self:
        """Find the entities and show their tentative states; raises ``InvalidTransition`` and nothing else of ours."""
        call = cls(mesh)
        for plan in plans:
            try:
                for subject in plan.subjects(args, kwargs):
                    call._add(plan, subject)
            except InvalidTransition:
                raise
            except Exception as error:  # noqa: BLE001 - capture never breaks the business call
                mesh.telemetry.failed("capture", error)
        return call

    def _add(self, plan: Plan, subject: Subject) -> None:
        before = self._before(subject)
        frame = Frame(plan, subject, before)
        target = plan.declaration.state
        if isinstance(target, str):
            self._check(plan.declaration, subject.model, before, target)
        elif plan.declaration.from_states:
            self._check(plan.declaration, subject.model, before, None)
        self._frames.append(frame)
        if plan.declaration.carry:
            moving = isinstance(target, str)
            frame.shown = moved_context(self._mesh, Move(before, target, {})) if moving else before  # type: ignore[arg-type]
            self.work.contexts[subject.model.name] = frame.shown

    def _before(self, subject: Subject) -> ModelContext:
        mesh, name = self._mesh, subject.model.name
        ref = mesh.models.ref(subject.model, subject.raw_id)
        held = self.work.contexts.get(name)
        known = mesh.known(ref) if ref.entity_id else None
        if held is not None and held.entity_id == ref.entity_id and (known is None or held.rank > known.rank):
            known = held
        if subject.subject is None:
            return known or ModelContext(name, ref.entity_id, None, source=mesh.identity.service)
        facts = mesh.models.read(subject.model, subject.subject)
        if known is None:
            return ModelContext(name, ref.entity_id, facts.state, facts.attributes, source=mesh.identity.service)
        return known.but(attributes={**known.attributes, **facts.attributes}) if facts.attributes else known

    def _check(self, declaration: Declaration, model: BusinessModel, before: ModelContext, target: str | None) -> None:
        start = before.state
        expected = start is None or not declaration.from_states or start in declaration.from_states
        if expected and (target is None or model.allows(start, target)):
            return
        if not model.enforce:
            self._mesh.telemetry.dropped("capture", "unexpected_transition")
            return
        allowed = declaration.from_states or model.transitions.get(start or "", frozenset())
        self._mesh.telemetry.aborted(model.name, target)
        raise InvalidTransition(model.name, before.entity_id, start, target or "?", allowed)

    def enter(self) -> None:
        """Make this call's record the current one."""
        current.activate(self.work)

    def leave(self) -> None:
        """Put the caller's record back."""
        current.activate(self.outer)

    def commit(self, result: Any) -> None:
        """Publish what the call changed. Never raises."""
        self._end(lambda frame: self._committed(frame, result))

    def abort(self, error: BaseException) -> None:
        """Publish that the call failed, and move to ``on_error`` where the decorator says so. Never raises."""
        cause = type(error).__name__
        self._end(lambda frame: self._aborted(frame, cause))

    def end(self, sent: object, result: Any) -> None:
        """End a generator that ran out: aborted when it did so because it was closed, committed otherwise."""
        if isinstance(sent, GeneratorExit):
            self.abort(sent)
        else:
            self.commit(result)

    def _end(self, judge: Any) -> None:
        moves, subjects = [], []
        for frame in self._frames:
            try:
                move = judge(frame)
            except Exception as failure:  # noqa: BLE001 - capture never breaks the business call
                self._mesh.telemetry.failed("capture", failure)
                continue
            if move is not None:
                moves.append(move)
                subjects.append(frame.subject.subject)
        self._publish(moves, subjects)
        if self.outer is not None:
            self.outer.merge(self.work)

    def _publish(self, moves: list[Move], subjects: list[object]) -> None:
        if not moves:
            return
        batch = self._mesh.runtime.ids() if len(moves) > 1 else ""
        seconds = self._mesh.runtime.clock.monotonic() - self._began
        stamped = [move._replace(batch_id=batch, duration=seconds) for move in moves]
        transitions = [make_transition(self._mesh, move) for move in stamped if self._has_id(move)]
        for move in stamped:
            self._remember(move)
        if transitions:
            self._mesh.commit(self.outer or self.work, transitions, subjects)

    def _has_id(self, move: Move) -> bool:
        if move.before.entity_id:
            return True
        self._mesh.telemetry.dropped("capture", "no_id")
        return False

    def _remember(self, move: Move) -> None:
        if move.outcome is Outcome.COMMITTED:
            self.work.put(moved_context(self._mesh, move))
            self.work.moved.add(move.before.ref)
        else:
            held = self.outer.contexts.get(move.before.model) if self.outer is not None else None
            self.work.restore(move.before.model, held)

    def _committed(self, frame: Frame, result: Any) -> Move | None:
        before = self._identified(frame)
        if before.ref in self.work.moved:
            return None
        declaration = frame.plan.declaration
        state, attributes = self._reached(frame, before, result)
        if callable(declaration.state) and state is not None and not self._allowed(frame, before, state):
            return Move(before, state, {}, Outcome.ABORTED, declaration.operation, InvalidTransition.__name__)
        changed = {name: value for name, value in attributes.items() if before.attributes.get(name) != value}
        if declaration.state is None and state in (None, before.state) and not changed:
            return None
        return Move(before, state, self._all_or_changed(before, attributes, changed), operation=declaration.operation)

    def _all_or_changed(
        self, before: ModelContext, attributes: Mapping[str, Value], changed: Mapping[str, Value]
    ) -> Mapping[str, Value]:
        return changed if before.revision else attributes

    def _allowed(self, frame: Frame, before: ModelContext, state: str) -> bool:
        return not frame.subject.model.enforce or frame.subject.model.allows(before.state, state)

    def _identified(self, frame: Frame) -> ModelContext:
        """Give the frame's context before the call, with the id and attributes that were bound meanwhile."""
        bound = self.work.contexts.get(frame.before.model)
        if bound is None or bound is frame.shown or not frame.plan.declaration.carry:
            return self._reread_id(frame)
        if frame.before.entity_id not in ("", bound.entity_id):
            return frame.before
        return frame.before.but(entity_id=bound.entity_id, attributes={**frame.before.attributes, **bound.attributes})

    def _reread_id(self, frame: Frame) -> ModelContext:
        if frame.before.entity_id or frame.subject.subject is None:
            return frame.before
        facts = self._mesh.models.read(frame.subject.model, frame.subject.subject)
        return frame.before.but(entity_id=facts.entity_id) if facts.entity_id else frame.before

    def _reached(self, frame: Frame, before: ModelContext, result: Any) -> tuple[str | None, Mapping[str, Value]]:
        declared, subject = frame.plan.declaration.state, frame.subject
        facts = self._mesh.models.read(subject.model, subject.subject) if subject.subject is not None else None
        attributes = facts.attributes if facts is not None else before.attributes if not before.revision else {}
        if callable(declared):
            chosen = declared(result)
            return (None if chosen is None else subject.model.check_state(chosen)), attributes
        if isinstance(declared, str):
            return declared, attributes
        return (facts.state if facts is not None else None), attributes

    def _aborted(self, frame: Frame, cause: str) -> Move | None:
        before = self._identified(frame)
        declaration = frame.plan.declaration
        if declaration.on_error is not None:
            return Move(before, declaration.on_error, before.attributes, operation=declaration.operation, cause=cause)
        target = declaration.state if isinstance(declaration.state, str) else None
        if target is None and not declaration.carry:
            return None
        return Move(before, target, {}, Outcome.ABORTED, declaration.operation, cause)
