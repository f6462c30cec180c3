"""Entities changed by hand: ``mesh.bind``, ``mesh.entity`` and ``mesh.publish``."""

from __future__ import annotations

import asyncio
from collections.abc import Generator, Mapping
from enum import Enum
from types import TracebackType
from typing import Any, Protocol, Self

from mcp_sdk import current
from mcp_sdk.calls import Capturer, Move, captured_attributes, make_transition, moved_context
from mcp_sdk.context import EntityRef, ModelContext
from mcp_sdk.exceptions import InvalidTransition, ModelError
from mcp_sdk.models import BusinessModel
from mcp_sdk.ports import ControlPlane

__all__ = ["Entity", "Moved", "bind"]


class EntityHost(Capturer, Protocol):
    """What an entity needs of the mesh."""

    @property
    def control_plane(self) -> ControlPlane:
        """The plane that entities are fetched from."""


def bind(mesh: Capturer, subject: Any, entity_id: Any, attributes: Mapping[str, Any]) -> ModelContext:
    """Make an entity the one that the work at hand is about; gives its context.

    Raises ``ModelError`` when ``subject`` is neither a declared model's name nor an object of a declared class.
    """
    work = current.record_or_new(mesh)
    model, ref, state, found = _describe(mesh, subject, entity_id)
    found.update(captured_attributes(model, attributes))
    context = _bound(mesh, work, ref, state, found)
    work.put(context)
    return context


def _describe(mesh: Capturer, subject: Any, entity_id: Any) -> tuple[BusinessModel, EntityRef, str | None, dict[str, Any]]:
    if isinstance(subject, str):
        model = mesh.models.named(subject)
        return model, mesh.models.ref(model, entity_id), None, {}
    model_of = mesh.models.of_type(type(subject))
    if model_of is None:
        known = ", ".join(sorted(mesh.models)) or "none"
        raise ModelError(f"{type(subject).__name__} is not a declared model's class. Declared: {known}. Use @mesh.model(...)")
    facts = mesh.models.read(model_of, subject)
    return model_of, EntityRef(model_of.name, facts.entity_id), facts.state, facts.attributes


def _bound(
    mesh: Capturer, work: current.Record, ref: EntityRef, state: str | None, attributes: dict[str, Any]
) -> ModelContext:
    inside = work.contexts.get(ref.model)
    if inside is not None and inside.tentative and inside.entity_id in ("", ref.entity_id):
        return inside.but(entity_id=ref.entity_id, attributes={**inside.attributes, **attributes})
    known = mesh.known(ref) or (inside if inside is not None and inside.entity_id == ref.entity_id else None)
    if known is None:
        return ModelContext(ref.model, ref.entity_id, state, attributes, source=mesh.identity.service)
    differs = state not in (None, known.state)
    return known.but(
        state=state if state is not None else known.state,
        attributes={**known.attributes, **attributes},
        tentative=known.tentative or differs,
    )


class Moved:
    """A move that was made: ``await`` it, or not, for the entity's context."""

    __slots__ = ("context",)

    def __init__(self, context: ModelContext) -> None:
        self.context = context

    def __await__(self) -> Generator[Any, None, ModelContext]:
        yield from asyncio.sleep(0).__await__()
        return self.context


class Entity:
    """One entity, bound to the work at hand inside ``with`` or ``async with``.

    ``to(state)`` publishes a move at once. Entering looks the entity up, so that moves are checked and published against the
    newest revision; a store that does not answer in ``start_timeout`` leaves the revision unknown.
    """

    def __init__(self, mesh: Any, model: BusinessModel, entity_id: Any) -> None:
        self._mesh: EntityHost = mesh
        self._model = model
        self.ref: EntityRef = mesh.models.ref(model, entity_id)
        self._before: tuple[current.Record | None, current.Record] | None = None

    @property
    def context(self) -> ModelContext:
        """The entity as this process knows it."""
        work = current.record()
        held = work.contexts.get(self.ref.model) if work is not None else None
        if held is not None and held.ref == self.ref:
            return held
        return self._mesh.known(self.ref) or ModelContext(*self.ref, source=self._mesh.identity.service)

    def to(self, state: str | Enum | None = None, **attributes: Any) -> Moved:
        """Move the entity; ``await`` the result or leave it. Raises ``InvalidTransition`` where the model enforces its moves."""
        return Moved(self.move(state, attributes))

    def move(self, state: str | Enum | None, attributes: Mapping[str, Any]) -> ModelContext:
        """Publish a move and give the entity's context after it."""
        before = self.context
        target = None if state is None else self._model.check_state(state)
        if target is not None and self._model.enforce and not self._model.allows(before.state, target):
            allowed = self._model.transitions.get(before.state or "", frozenset())
            raise InvalidTransition(self._model.name, self.ref.entity_id, before.state, target, allowed)
        move = Move(before, target, captured_attributes(self._model, attributes))
        work = current.record() or current.Record(self._mesh)
        after = moved_context(self._mesh, move)
        self._mesh.commit(work, (make_transition(self._mesh, move),))
        held = work.contexts.get(self.ref.model)
        if held is None or held.ref == self.ref:
            work.put(after)
        work.moved.add(self.ref)
        return after

    def _enter(self) -> Self:
        outer = current.record()
        child = outer.fork() if outer is not None else current.Record(self._mesh)
        child.put(self.context)
        self._before = (current.activate(child), child)
        return self

    def _leave(self) -> None:
        if self._before is None:
            return
        outer, child = self._before
        self._before = None
        current.activate(outer)
        if outer is not None:
            outer.merge(child)

    def __enter__(self) -> Self:
        future = self._mesh.control_plane.fetch([self.ref])
        try:
            future.result(self._mesh.config.start_timeout)
        except Exception as error:  # noqa: BLE001 - without the store the revision is unknown; the business call goes on
            self._mesh.telemetry.failed("entity", error)
        return self._enter()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._leave()

    async def __aenter__(self) -> Self:
        future = asyncio.wrap_future(self._mesh.control_plane.fetch([self.ref]))
        try:
            await asyncio.wait_for(future, self._mesh.config.start_timeout)
        except Exception as error:  # noqa: BLE001 - as above
            self._mesh.telemetry.failed("entity", error)
        return self._enter()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave()
