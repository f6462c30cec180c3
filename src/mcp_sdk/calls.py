"""One decorated call, sans I/O: what its entity is, what state it is on its way to, and what is published at its end.

``Call.begin`` puts a tentative context on a fork of the record; ``commit`` and ``abort`` turn it into transitions. The
drivers in ``capture`` only run the function between the two.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

from mcp_sdk import current
from mcp_sdk.context import NO_ATTRIBUTES, EntityRef, ModelContext, NewContext, Outcome
from mcp_sdk.declarations import OF_SUBJECT, Declaration, Plan, Subject
from mcp_sdk.exceptions import InvalidTransition
from mcp_sdk.models import BusinessModel, Value
from mcp_sdk.moves import Capturer, Move, after_move, differing, fresh_context, made_context, newest, transitions_of
from mcp_sdk.reading import Facts, Reader

__all__ = ["Call"]

_NO_FACTS = Facts("", None)
_ref = tuple.__new__


class Frame:
    """One entity of one call: what was read of it, what is known of it, and what the call shows of it.

    ``before`` is the committed context that the call starts from, ``shown`` the one that calls below carry. ``new``
    says that the mesh knew nothing of the entity.
    """

    __slots__ = ("before", "declaration", "facts", "model", "new", "raw", "reader", "shown", "subject")

    def __init__(self, declaration: Declaration, model: BusinessModel, subject: Any, reader: Reader | None) -> None:
        self.declaration: Declaration = declaration
        self.model: BusinessModel = model
        self.subject: Any = subject
        self.reader: Reader | None = reader
        self.raw: tuple[Any, ...] = ()
        self.facts = _NO_FACTS
        if reader is not None:
            self.raw = reader.raw(subject)
            self.facts = reader.facts(self.raw)

    def start(self, before: ModelContext, shown: ModelContext, *, new: bool) -> None:
        """Take note of where the entity stands."""
        self.before: ModelContext = before
        self.shown: ModelContext = shown
        self.new: bool = new

    def reread(self) -> Facts:
        """Give what the object says now; the very same facts when nothing changed."""
        if self.reader is None:
            return self.facts
        raw = self.reader.raw(self.subject)
        return self.facts if self.reader.same(self.raw, raw) else self.reader.facts(raw)


class Call:
    """A decorated call that is running."""

    __slots__ = ("_began", "_frames", "_mesh", "_past", "outer", "work")

    def __init__(self, mesh: Capturer) -> None:
        self._mesh = mesh
        self._frames: list[Frame] = []
        self.outer: current.Record | None = current.record()
        self._past = self.outer if self.outer is not None else current.Record(mesh)
        self.work: current.Record = self._past.fork()
        self._began = mesh.runtime.clock.monotonic()

    @classmethod
    def begin(
        cls, mesh: Capturer, plans: Sequence[Plan], args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Self | None:
        """Find the entities and show their tentative states; None when the call is about none.

        Raises ``InvalidTransition`` and nothing else of ours.
        """
        call = cls(mesh)
        for plan in plans:
            try:
                for subject in plan.subjects(args, kwargs):
                    call._add(plan, subject, args, kwargs)
            except InvalidTransition:
                raise
            except Exception as error:  # noqa: BLE001 - capture never breaks the business call
                mesh.telemetry.failed("capture", error)
        return call if call._frames else None

    def _add(self, plan: Plan, found: Subject, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        model, subject, raw_id = found
        mesh, declaration = self._mesh, plan.declaration
        reader = mesh.models.reader(model, type(subject)) if subject is not None else None
        frame = Frame(declaration, model, subject, reader)
        if frame.facts.missed:
            mesh.telemetry.dropped("capture", "attribute", frame.facts.missed)
        if raw_id is OF_SUBJECT:
            entity_id = frame.facts.entity_id or mesh.models.ref(model, plan.raw_id(args, kwargs)).entity_id
        else:
            entity_id = mesh.models.ref(model, raw_id).entity_id
        self._place(frame, _ref(EntityRef, (model.name, entity_id)))

    def _place(self, frame: Frame, ref: EntityRef) -> None:
        mesh, declaration = self._mesh, frame.declaration
        known = newest(mesh, self._past, ref)
        before = known or fresh_context(mesh, ref, frame.facts.state)
        target = declaration.state if isinstance(declaration.state, str) else None
        self._check(frame, before, target)
        frame.start(before, self._shown(before, target, frame.facts.attributes), new=known is None)
        self._frames.append(frame)
        if declaration.carry:
            self.work.contexts[ref[0]] = frame.shown
            self.work.settled[ref[0]] = before

    def _shown(self, before: ModelContext, target: str | None, attributes: Mapping[str, Value]) -> ModelContext:
        if target is None and not differing(attributes, before.attributes):
            return before
        merged = {**before.attributes, **attributes} if before.attributes else attributes
        state, tentative = (before.state, before.tentative) if target is None else (target, True)
        source = self._mesh.identity.service
        return made_context(
            NewContext(before.model, before.entity_id, state, merged, before.revision, tentative, source)
        )

    def _check(self, frame: Frame, before: ModelContext, target: str | None) -> None:
        model, froms, start = frame.model, frame.declaration.from_states, before.state
        expected = not froms or start is None or start in froms
        if expected and (target is None or model.allows(start, target)):
            return
        if not model.enforce or not self._mesh.enforcing:
            self._mesh.telemetry.dropped("capture", "unexpected_transition")
            return
        allowed = froms or model.transitions.get(start or "", frozenset())
        self._mesh.telemetry.aborted(model.name, target)
        raise InvalidTransition(model.name, before.entity_id, start, target or "?", allowed)

    def enter(self) -> current.Record | None:
        """Make this call's record the current one; gives the one it replaces."""
        return current.activate(self.work)

    def commit(self, result: Any) -> None:
        """Publish what the call changed. Never raises."""
        self._end(self._committed, result)

    def abort(self, error: BaseException) -> None:
        """Publish that the call failed, and move to ``on_error`` where the decorator says so. Never raises."""
        self._end(self._aborted, type(error).__name__)

    def end(self, sent: object, result: Any) -> None:
        """End a generator that ran out: aborted when it did so because it was closed, committed otherwise."""
        if isinstance(sent, GeneratorExit):
            self.abort(sent)
        else:
            self.commit(result)

    def _end(self, judge: Callable[[Frame, Any], Move | None], value: Any) -> None:
        try:
            moves = self._judged(judge, value)
            if moves:
                self._publish(moves)
            if self.outer is not None:
                self.outer.merge(self.work, own=[frame.model.name for frame in self._frames if frame.before.entity_id])
        except Exception as failure:  # noqa: BLE001 - capture never breaks the business call
            self._mesh.telemetry.failed("capture", failure)

    def _judged(self, judge: Callable[[Frame, Any], Move | None], value: Any) -> list[tuple[Frame, Move]]:
        """Give the moves, those of inner decorators before those of outer ones: of one entity the innermost counts."""
        moves: list[tuple[Frame, Move]] = []
        for frame in reversed(self._frames):
            try:
                move = judge(frame, value)
            except Exception as failure:  # noqa: BLE001 - as above
                self._mesh.telemetry.failed("capture", failure)
                self._restore(frame)
                continue
            if move is not None and not any(_same_entity(move, earlier) for _, earlier in moves):
                moves.append((frame, move))
        moves.reverse()
        return moves

    def _publish(self, moves: list[tuple[Frame, Move]]) -> None:
        for frame, move in moves:
            self._remember(frame, move)
        named = [(frame, move) for frame, move in moves if self._has_id(move)]
        if not named:
            return
        seconds = self._mesh.runtime.clock.monotonic() - self._began
        transitions = transitions_of(self._mesh, [move for _, move in named], seconds=seconds)
        self._mesh.commit(self.outer or self.work, transitions, [frame.subject for frame, _ in named])
        if self.outer is None and self.work.pending:
            self.work.keep_pending()

    def _has_id(self, move: Move) -> bool:
        if move.before.entity_id:
            return True
        self._mesh.telemetry.dropped("capture", "no_id")
        return False

    def _remember(self, frame: Frame, move: Move) -> None:
        if not move.committed:
            self._restore(frame)
            return
        after = move.after or after_move(self._mesh, move)
        self.work.move(after)
        if frame.declaration.carry:
            self.work.contexts[after.model] = after

    def _restore(self, frame: Frame) -> None:
        """Forget the state that the call showed, unless the entity has really moved meanwhile."""
        name = frame.model.name
        held = self.work.contexts.get(name)
        if frame.declaration.carry and (held is None or held.ref not in self.work.moved):
            self.work.restore(name, self.outer.contexts.get(name) if self.outer is not None else None)

    def _base(self, frame: Frame) -> ModelContext:
        """Give what the entity's move starts from: as before the call, or as the call named or moved it meanwhile."""
        before = frame.before
        if not before.entity_id:
            before = self._named(frame)
        if self.work.moved and before.ref in self.work.moved:
            return newest(self._mesh, self.work, before.ref) or before
        return before

    def _named(self, frame: Frame) -> ModelContext:
        bound = self.work.settled.get(frame.model.name) if frame.declaration.carry else None
        if bound is not None and bound.entity_id:
            return bound
        entity_id = frame.reread().entity_id
        if not entity_id:
            return frame.before
        return newest(self._mesh, self.work, EntityRef(frame.model.name, entity_id)) or frame.before.but(
            entity_id=entity_id
        )

    def _bound(self, frame: Frame, base: ModelContext) -> ModelContext | None:
        """Give the context that ``mesh.bind`` put in the place of the one shown, if it did."""
        held = self.work.contexts.get(frame.model.name)
        if held is None or held is frame.shown or not frame.declaration.carry or held.entity_id != base.entity_id:
            return None
        return held

    def _committed(self, frame: Frame, result: Any) -> Move | None:
        base = self._base(frame)
        if self.work.moved and base.ref in self.work.moved:
            self._void(frame, base)
            return None
        facts, bound, declared = frame.reread(), self._bound(frame, base), frame.declaration.state
        attributes = facts.attributes if bound is None else {**bound.attributes, **facts.attributes}
        if isinstance(declared, str):
            state: str | None = declared
        elif declared is None:
            return self._observed(frame, base, facts, bound, attributes)
        else:
            chosen = declared(result)
            if chosen is None:
                return self._observed(frame, base, facts, bound, attributes)
            state = frame.model.check_state(chosen)
            if not self._allowed(frame, base, state):
                return self._failed(frame, base, state, InvalidTransition.__name__)
        untouched = facts is frame.facts and bound is None and base is frame.before and state == frame.shown.state
        return Move(
            base,
            state,
            differing(attributes, base.attributes),
            operation=frame.declaration.operation,
            after=frame.shown if untouched and frame.shown.tentative else None,
        )

    def _void(self, frame: Frame, base: ModelContext) -> None:
        """Leave the entity where a call inside moved it to."""
        if self.work.contexts.get(frame.model.name) is frame.shown:
            self.work.contexts[frame.model.name] = base

    def _observed(
        self,
        frame: Frame,
        base: ModelContext,
        facts: Facts,
        bound: ModelContext | None,
        attributes: Mapping[str, Value],
    ) -> Move | None:
        """Give the move that shows on the entity itself, where no decorator says which it is."""
        seen = frame.facts
        changed = facts.state != seen.state or facts.attributes != seen.attributes or facts.entity_id != seen.entity_id
        named = bound is not None and (bound.state != base.state or bool(differing(bound.attributes, base.attributes)))
        if not changed and not named:
            return None
        now = facts.state if facts.state is not None or bound is None else bound.state
        start = base.state if frame.new or bound is not None else seen.state
        state = self._declared(frame, now) if frame.new or now != start else None
        news = differing(attributes, base.attributes)
        if state is None and not news:
            return None
        return Move(base, state, news, operation=frame.declaration.operation)

    def _declared(self, frame: Frame, state: str | None) -> str | None:
        if state is None or not frame.model.states or state in frame.model.states:
            return state
        self._mesh.telemetry.dropped("capture", "unknown_state")
        return None

    def _allowed(self, frame: Frame, base: ModelContext, state: str) -> bool:
        if frame.model.allows(base.state, state):
            return True
        self._mesh.telemetry.dropped("capture", "unexpected_transition")
        return not (frame.model.enforce and self._mesh.enforcing)

    def _aborted(self, frame: Frame, cause: str) -> Move | None:
        base, declaration = self._base(frame), frame.declaration
        if declaration.on_error is not None:
            self._mesh.telemetry.aborted(frame.model.name, declaration.on_error)
            news = differing(frame.reread().attributes, base.attributes)
            return Move(base, declaration.on_error, news, operation=declaration.operation, cause=cause)
        target = declaration.state if isinstance(declaration.state, str) else None
        if target is None and not declaration.carry:
            return None
        return self._failed(frame, base, target, cause)

    def _failed(self, frame: Frame, base: ModelContext, target: str | None, cause: str) -> Move:
        self._mesh.telemetry.aborted(frame.model.name, target)
        operation = frame.declaration.operation
        return Move(base, target, NO_ATTRIBUTES, outcome=Outcome.ABORTED, operation=operation, cause=cause)


def _same_entity(one: Move, other: Move) -> bool:
    return one.before.model == other.before.model and one.before.entity_id == other.before.entity_id
