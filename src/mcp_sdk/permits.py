"""``@requires_permit``: a decision in front of a method, by what it is given and who calls.

Phase ``METHOD``: only AccessPolicies speak, whose target names the operation: the dotted name of the method, or the one
given.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import aclosing
from typing import Any, ParamSpec, TypeVar, overload

from mcp_sdk import current
from mcp_sdk.context import EntityRef, ModelContext
from mcp_sdk.current import Record
from mcp_sdk.decisions import DecisionRequest, Phase, Refused
from mcp_sdk.declarations import Parameters, argument, signature_of
from mcp_sdk.enforcement import Steps, adrive, ask, believed, drive, resolve
from mcp_sdk.exceptions import ConfigurationError
from mcp_sdk.models import BusinessModel

__all__ = ["permit_operation", "requires_permit"]

P = ParamSpec("P")
R = TypeVar("R")
F = TypeVar("F", bound=Callable[..., Any])
MARK = "__mcp_sdk_permit__"


@overload
def requires_permit(target: str = ..., /, *, operation: str = ...) -> Callable[[F], F]: ...
@overload
def requires_permit(target: Callable[P, R], /) -> Callable[P, R]: ...
def requires_permit(target: Any = "", /, *, operation: str = "") -> Any:
    """Let a method run only where the AccessPolicies of its operation permit it.

    Bare, or with the operation's name (``module.qualname`` unless given); on functions, coroutines, generators,
    methods, static and class methods. The decision sees the contexts of the request, those of arguments that are
    objects of declared classes, and, looked up where a policy needs it, entities that ``<model>``, ``<model>_id`` and
    ``<model>_<key>`` arguments name. Raises ``Refused`` in mode ``enforce``, which the middleware answers with the
    right response; otherwise the method runs and the decision is recorded. Raises ``ConfigurationError`` when no mesh
    was started: a permit that nobody can give is not assumed.
    """
    if callable(target) or isinstance(target, (staticmethod, classmethod)):
        return _wrap(target, operation)
    return lambda function: _wrap(function, operation or target)


def permit_operation(function: Any) -> str:
    """Give the operation that a function's permit is decided under; empty for a function that needs none."""
    name: str = getattr(function, MARK, "")
    return name


def _wrap(function: Any, operation: str) -> Any:
    if isinstance(function, (staticmethod, classmethod)):
        return type(function)(_wrap(function.__func__, operation))
    guard = _Guard(function, operation or f"{function.__module__}.{function.__qualname__}")
    wrapper = functools.wraps(function)(_driver(function)(function, guard))
    wrapper.__signature__ = signature_of(function)  # type: ignore[attr-defined]
    setattr(wrapper, MARK, guard.operation)
    return wrapper


def _driver(function: Callable[..., Any]) -> Callable[[Callable[..., Any], _Guard], Callable[..., Any]]:
    if inspect.isasyncgenfunction(function):
        return _drive_async_generator
    return _drive_coroutine if inspect.iscoroutinefunction(function) else _drive_function


def _drive_function(function: Callable[..., Any], guard: _Guard) -> Callable[..., Any]:
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        mesh, work = guard.find()
        if mesh.watching:
            drive(mesh, guard.steps(mesh, work, args, kwargs))
        return function(*args, **kwargs)

    return wrapper


def _drive_coroutine(function: Callable[..., Any], guard: _Guard) -> Callable[..., Any]:
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        mesh, work = guard.find()
        if mesh.watching:
            await adrive(mesh, guard.steps(mesh, work, args, kwargs))
        return await function(*args, **kwargs)

    return wrapper


def _drive_async_generator(function: Callable[..., Any], guard: _Guard) -> Callable[..., Any]:
    async def wrapper(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        mesh, work = guard.find()
        if mesh.watching:
            await adrive(mesh, guard.steps(mesh, work, args, kwargs))
        async with aclosing(function(*args, **kwargs)) as items:
            sent = None
            while True:
                try:
                    sent = yield await items.asend(sent)
                except StopAsyncIteration:
                    return

    return wrapper


class _Guard:
    """The permit of one method."""

    __slots__ = ("_parameters", "operation")

    def __init__(self, function: Callable[..., Any], operation: str) -> None:
        self.operation = operation
        self._parameters = Parameters(function)

    def find(self) -> tuple[Any, Record]:
        """Give the mesh that decides and the work at hand."""
        work = current.record()
        mesh = work.mesh if work is not None and work.mesh is not None else current.installed()
        if mesh is None:
            raise ConfigurationError(
                f"{self.operation} requires a permit and no mesh was started. Call mesh.start(), or use MeshMiddleware."
            )
        return mesh, work if work is not None else Record(mesh)

    def steps(self, mesh: Any, work: Record, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Steps[None]:
        """Give the flow of one call; it raises ``Refused`` where the mesh enforces."""
        request = yield from resolve(mesh, self._request(mesh, work, args, kwargs))
        decision = yield from ask(mesh, request)
        if not decision.permitted and mesh.enforcing:
            raise Refused(decision)

    def _request(self, mesh: Any, work: Record, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> DecisionRequest:
        contexts, references = believed(mesh, work.contexts), dict(work.references)
        for context in self._given(mesh, work, args, kwargs):
            contexts[context.model] = context
        for ref in self._named(mesh, work, args, kwargs):
            references[ref.model] = ref
            _make_way(mesh, contexts, ref)
        call, identity = work.call, mesh.identity
        return DecisionRequest(
            identity.service,
            self.operation,
            Phase.METHOD,
            contexts,
            tuple(references.values()),
            call.request,
            call.principal,
            call.source,
            identity.namespace,
            identity.environment,
            mesh.runtime.clock.now(),
        )

    def _given(
        self, mesh: Any, work: Record, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Iterator[ModelContext]:
        """Give the contexts of arguments that are objects of declared classes."""
        for value in (*args, *kwargs.values()):
            model = mesh.models.of_type(type(value))
            if model is not None:
                facts = mesh.models.read(model, value)
                ref = EntityRef(model.name, facts.entity_id)
                if not model.principal or _is_caller(mesh, work, model, ref):
                    yield _seen(mesh, work, ref, facts.state, facts.attributes)

    def _named(self, mesh: Any, work: Record, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Iterator[EntityRef]:
        """Give the entities that arguments name by their id."""
        for model in mesh.models.values():
            for name in dict.fromkeys((model.name, f"{model.name}_id", f"{model.name}_{model.key}")):
                value = argument(self._parameters.slot(name), args, kwargs)
                if isinstance(value, (str, int)) or type(value).__name__ == "UUID":
                    ref = mesh.models.ref(model, value)
                    if not model.principal or _is_caller(mesh, work, model, ref):
                        yield ref
                    break


def _is_caller(mesh: Any, work: Record, model: BusinessModel, ref: EntityRef) -> bool:
    principal = work.call.principal
    return principal.authenticated and bool(principal.id) and mesh.models.ref(model, principal.id) == ref


def _make_way(mesh: Any, contexts: dict[str, ModelContext], ref: EntityRef) -> None:
    """Put what is known of the entity that the call names in the place of another one's context."""
    held = contexts.get(ref.model)
    if held is not None and held.ref == ref:
        return
    known = mesh.known(ref)
    if known is not None:
        contexts[ref.model] = known
    else:
        contexts.pop(ref.model, None)


def _seen(mesh: Any, work: Record, ref: EntityRef, state: str | None, attributes: Mapping[str, Any]) -> ModelContext:
    """Give the context of an object in hand; tentative where it says otherwise than the newest that is known."""
    held = work.contexts.get(ref.model)
    base = held if held is not None and held.ref == ref else mesh.known(ref)
    if base is None:
        return ModelContext(ref.model, ref.entity_id, state, attributes, source=mesh.identity.service)
    merged = {**base.attributes, **attributes}
    moved = state is not None and state != base.state
    changed: bool = base.tentative or moved or merged != dict(base.attributes)
    return base.but(state=state if moved else base.state, attributes=merged, tentative=changed)
