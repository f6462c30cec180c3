"""Entities changed by hand: ``mesh.bind``, ``mesh.entity`` and ``mesh.publish``."""

from __future__ import annotations

import asyncio
from collections.abc import Generator, Mapping
from concurrent.futures import Future
from enum import Enum
from types import TracebackType
from typing import Any, Protocol, Self

from mcp_sdk import current
from mcp_sdk.context import EntityRef, ModelContext
from mcp_sdk.exceptions import InvalidTransition, ModelError
from mcp_sdk.models import BusinessModel, Value
from mcp_sdk.moves import Capturer, Move, after_move, captured_attributes, fresh_context, newest, transitions_of
from mcp_sdk.ports import ControlPlane
from mcp_sdk.reading import Facts

__all__ = ["Entity", "Moved", "bind"]


class EntityHost(Capturer, Protocol):
    """What an entity needs of the mesh."""

    @property
    def control_plane(self) -> ControlPlane:
        """The plane that entities are fetched from."""


def bind(mesh: Capturer, subject: Any, entity_id: Any, attributes: Mapping[str, Any]) -> ModelContext:
    """Make an entity the one that the work at hand is about; gives its context.

    Raises ``ModelError`` when ``subject`` is neither a declared model's name nor an object of a declared class, and for
    an attribute that the model does not declare. A value that does not fit is left out and counted.
    """
    model, facts = _describe(mesh, subject, entity_id)
    found = {**facts.attributes, **_fitting(mesh, model, attributes)}
    ref = EntityRef(model.name, facts.entity_id)
    if not mesh.watching:
        return fresh_context(mesh, ref, facts.state).but(attributes=found)
    work = current.record_or_new(mesh)
    settled = newest(mesh, work, ref)
    context = _bound(mesh, work, settled or fresh_context(mesh, ref, facts.state), facts.state, found)
    if model.name in work.settled and work.settled[model.name].entity_id in ("", ref.entity_id):
        work.settled[model.name] = settled or fresh_context(mesh, ref)
    work.put(context)
    return context


def _describe(mesh: Capturer, subject: Any, entity_id: Any) -> tuple[BusinessModel, Facts]:
    if isinstance(subject, str):
        model = mesh.models.named(subject)
        return model, Facts(mesh.models.ref(model, entity_id).entity_id, None)
    model_of = mesh.models.of_type(type(subject))
    if model_of is None:
        known = ", ".join(sorted(mesh.models)) or "none"
        raise ModelError(
            f"{type(subject).__name__} is not a declared model's class. Declared: {known}. Use @mesh.model(...)"
        )
    return model_of, mesh.models.read(model_of, subject)


def _fitting(mesh: Capturer, model: BusinessModel, attributes: Mapping[str, Any]) -> dict[str, Value]:
    fitting: dict[str, Value] = {}
    for name, value in attributes.items():
        try:
            fitting |= captured_attributes(model, {name: value})
        except ModelError:
            if model.attributes and name not in model.attributes:
                raise
            mesh.telemetry.dropped("capture", "attribute")
    return fitting


def _bound(
    mesh: Capturer, work: current.Record, settled: ModelContext, state: str | None, attributes: Mapping[str, Value]
) -> ModelContext:
    inside = work.contexts.get(settled.model)
    if (
        inside is not None
        and inside.tentative
        and inside.model in work.settled
        and inside.entity_id in ("", settled.entity_id)
    ):
        known = {**settled.attributes, **inside.attributes, **attributes}
        return inside.but(entity_id=settled.entity_id, revision=settled.revision, attributes=known)
    differs = state not in (None, settled.state)
    return settled.but(
        state=state if state is not None else settled.state,
        attributes={**settled.attributes, **attributes},
        tentative=settled.tentative or differs,
        source=mesh.identity.service if differs or attributes else settled.source,
    )


class Moved:
    """A move that was made: ``await`` it, or not, for the entity's context."""

    __slots__ = ("context",)

    def __init__(self, context: ModelContext) -> None:
        self.context: ModelContext = context

    def __await__(self) -> Generator[Any, None, ModelContext]:
        yield from asyncio.sleep(0).__await__()
        return self.context


class Entity:
    """One entity, bound to the work at hand inside ``with`` or ``async with``.

    ``to(state)`` publishes a move at once. Entering looks the entity up, so that moves are checked and published
    against the newest revision; a store that does not answer in ``start_timeout`` leaves the revision unknown.
    """

    def __init__(self, mesh: Any, model: BusinessModel, entity_id: Any) -> None:
        self._mesh: EntityHost = mesh
        self._model = model
        self.ref: EntityRef = mesh.models.ref(model, entity_id)
        self._inside: tuple[current.Record | None, current.Record | None, current.Record] | None = None

    @property
    def context(self) -> ModelContext:
        """The entity as this process knows it."""
        work = current.record()
        held = work.contexts.get(self.ref.model) if work is not None else None
        if (
            held is not None
            and held.ref == self.ref
            and held.tentative
            and work is not None
            and held.model in work.settled
        ):
            return held
        return self._settled(work)

    def _settled(self, work: current.Record | None) -> ModelContext:
        home = work if work is not None else current.Record(self._mesh)
        return newest(self._mesh, home, self.ref) or fresh_context(self._mesh, self.ref)

    def to(self, state: str | Enum | None = None, **attributes: Any) -> Moved:
        """Move the entity; ``await`` it or not. Raises ``InvalidTransition`` where the model enforces its moves."""
        return Moved(self.move(state, attributes))

    def move(self, state: str | Enum | None, attributes: Mapping[str, Any]) -> ModelContext:
        """Publish a move and give the entity's context after it. Does nothing in mode ``off``."""
        mesh, work = self._mesh, current.record()
        before = self._settled(work)
        target = None if state is None else self._model.check_state(state)
        news = captured_attributes(self._model, attributes)
        if not mesh.watching:
            return before
        if target is not None:
            self._check(before, target)
        move = Move(before, target, news)
        after = after_move(mesh, move)
        home = work if work is not None else current.Record(mesh)
        mesh.commit(home, transitions_of(mesh, (move,)))
        home.move(after)
        if work is None and home.pending:
            home.keep_pending()
        return after

    def _check(self, before: ModelContext, target: str) -> None:
        model = self._model
        if model.allows(before.state, target):
            return
        if model.enforce and self._mesh.enforcing:
            allowed = model.transitions.get(before.state or "", frozenset())
            raise InvalidTransition(model.name, self.ref.entity_id, before.state, target, allowed)
        self._mesh.telemetry.dropped("capture", "unexpected_transition")

    def _enter(self) -> Self:
        outer = current.record()
        child = outer.fork() if outer is not None else current.Record(self._mesh)
        child.put(self.context)
        self._inside = (current.activate(child), outer, child)
        return self

    def _leave(self) -> None:
        if self._inside is None:
            return
        before, outer, child = self._inside
        self._inside = None
        current.activate(before)
        if outer is not None:
            outer.merge(child, own=(self.ref.model,))

    def _fetch(self) -> Future[Any] | None:
        if not self._mesh.watching:
            return None
        try:
            return self._mesh.control_plane.fetch([self.ref])
        except Exception as error:  # noqa: BLE001 - the revision stays unknown, the call goes on
            self._mesh.telemetry.failed("entity", error)
            return None

    def __enter__(self) -> Self:
        future = self._fetch()
        try:
            if future is not None:
                future.result(self._mesh.config.start_timeout)
        except Exception as error:  # noqa: BLE001 - as above
            self._mesh.telemetry.failed("entity", error)
        return self._enter()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave()

    async def __aenter__(self) -> Self:
        future = self._fetch()
        try:
            if future is not None:
                await asyncio.wait_for(asyncio.wrap_future(future), self._mesh.config.start_timeout)
        except Exception as error:  # noqa: BLE001 - as above
            self._mesh.telemetry.failed("entity", error)
        return self._enter()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave()
