"""Moves of entities: what is known before one, the event that it makes, and the context after it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import Enum
from typing import Any, Protocol, cast

from mcp_sdk import telemetry as spans
from mcp_sdk.clock import Runtime
from mcp_sdk.config import Config
from mcp_sdk.context import NO_ATTRIBUTES, EntityRef, ModelContext, NewContext, NewTransition, Outcome, Transition
from mcp_sdk.current import Record
from mcp_sdk.exceptions import ModelError
from mcp_sdk.models import BusinessModel, Value
from mcp_sdk.ports import Identity
from mcp_sdk.registry import Registry
from mcp_sdk.telemetry import Telemetry

__all__ = [
    "Capturer",
    "Move",
    "after_move",
    "captured_attributes",
    "differing",
    "fresh_context",
    "made_context",
    "made_transition",
    "newest",
    "transitions_of",
]


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

    @property
    def enforcing(self) -> bool:
        """Whether refusals are carried out: ``InvalidTransition`` is one."""

    def last_known(self, ref: EntityRef) -> ModelContext | None:
        """Give the newest context of an entity that was ever known here."""

    def commit(self, work: Record, transitions: Sequence[Transition], subjects: Sequence[object] = ()) -> None:
        """Publish transitions now, or at the commit of the database transaction around the caller."""


class Move:
    """A change of one entity that is to be published."""

    __slots__ = ("after", "attributes", "before", "cause", "operation", "outcome", "to_state")

    def __init__(  # noqa: PLR0913
        self,
        before: ModelContext,
        to_state: str | None,
        attributes: Mapping[str, Value] = NO_ATTRIBUTES,
        *,
        outcome: Outcome = Outcome.COMMITTED,
        operation: str = "",
        cause: str = "",
        after: ModelContext | None = None,
    ) -> None:
        self.before: ModelContext = before
        self.to_state: str | None = to_state
        self.attributes: Mapping[str, Value] = attributes
        self.outcome: Outcome = outcome
        self.operation: str = operation
        self.cause: str = cause
        self.after: ModelContext | None = after

    @property
    def committed(self) -> bool:
        """Whether the entity changed; False for a call that failed."""
        return self.outcome is Outcome.COMMITTED


def newest(mesh: Capturer, work: Record, ref: EntityRef) -> ModelContext | None:
    """Give the newest committed context of an entity that may be believed: this process's, or what the work carries.

    What a running call shows in a tentative state is not committed, and is looked through. Never raises.
    """
    known = _known(mesh, ref)
    held = work.settled.get(ref[0]) or work.contexts.get(ref[0])
    if (
        held is not None
        and held.entity_id == ref[1]
        and held.trust.counts
        and (known is None or held.rank > known.rank)
    ):
        known = held
    return _with_pending(mesh, known, work, ref) if work.pending else known


def _known(mesh: Capturer, ref: EntityRef) -> ModelContext | None:
    if not ref[1]:
        return None
    try:
        return mesh.last_known(ref)
    except Exception as error:  # noqa: BLE001 - capture never breaks the business call
        mesh.telemetry.failed("known", error)
        return None


def _with_pending(mesh: Capturer, known: ModelContext | None, work: Record, ref: EntityRef) -> ModelContext | None:
    for event in work.pending:
        if event.ref == ref:
            known = after_move(mesh, Move(known or fresh_context(mesh, ref), event.to_state, event.attributes))
    return known


def fresh_context(mesh: Capturer, ref: EntityRef, state: str | None = None) -> ModelContext:
    """Give the context of an entity of which nothing, or only its state, is known."""
    return made_context(NewContext(ref[0], ref[1], state, NO_ATTRIBUTES, 0, False, mesh.identity.service))


def after_move(mesh: Capturer, move: Move) -> ModelContext:
    """Give an entity's context after a move that is not stored yet."""
    before = move.before
    state = before.state if move.to_state is None else move.to_state
    attributes = {**before.attributes, **move.attributes} if move.attributes else before.attributes
    source = mesh.identity.service
    return made_context(NewContext(before.model, before.entity_id, state, attributes, before.revision, True, source))


def made_context(new: NewContext) -> ModelContext:
    """Make a context of one in the making, which may not be written any more."""
    new.__class__ = ModelContext  # type: ignore[assignment]
    return cast("ModelContext", new)


def made_transition(new: NewTransition) -> Transition:
    """Make a transition of one in the making."""
    new.__class__ = Transition  # type: ignore[assignment]
    return cast("Transition", new)


def differing(latest: Mapping[str, Value], before: Mapping[str, Value]) -> Mapping[str, Value]:
    """Give the attributes that are not as they were before."""
    if not latest or not before:
        return latest
    if latest == before:
        return NO_ATTRIBUTES
    return {name: value for name, value in latest.items() if name not in before or before[name] != value}


def transitions_of(mesh: Capturer, moves: Sequence[Move], *, seconds: float = 0.0) -> list[Transition]:
    """Make the events of moves that happen together: those that commit are one atomic batch."""
    now, trace = mesh.runtime.clock.now(), spans.trace_id()
    batch = mesh.runtime.ids() if len(moves) > 1 and sum(move.committed for move in moves) > 1 else ""
    return [_transition(mesh, move, batch if move.committed else "", now, seconds, trace) for move in moves]


def _transition(mesh: Capturer, move: Move, batch: str, now: datetime, seconds: float, trace: str) -> Transition:
    before, who = move.before, mesh.identity
    return made_transition(
        NewTransition(
            before.model,
            before.entity_id,
            move.to_state,
            mesh.runtime.ids(),
            before.state,
            move.attributes,
            move.outcome,
            None if before.tentative or not before.revision else before.revision,
            batch,
            who.namespace,
            who.environment,
            now,
            who.service,
            move.operation,
            move.cause,
            seconds,
            trace,
        )
    )


def captured_attributes(model: BusinessModel, attributes: Mapping[str, Any]) -> dict[str, Value]:
    """Turn attributes given by name into program values; sensitive ones are left out.

    Raises ``ModelError`` for a value that does not fit, and for a name that the model does not declare (unless it
    declares none at all: then texts, numbers and bools are taken as they are).
    """
    if not model.attributes:
        return {
            name: value if isinstance(value, (str, bool, int, float)) else str(value)
            for name, value in ((name, raw.value if isinstance(raw, Enum) else raw) for name, raw in attributes.items())
        }
    unknown = [name for name in attributes if name not in model.attributes]
    if unknown:
        known = ", ".join(sorted(model.attributes))
        raise ModelError(f"model {model.name!r} has no attribute {unknown[0]!r}. Declared: {known}.")
    declared = ((model.attributes[name], value) for name, value in attributes.items())
    return {spec.name: spec.capture(value) for spec, value in declared if not spec.sensitive}
