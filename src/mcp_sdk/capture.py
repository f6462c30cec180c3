"""The decorators: ``@model_context`` and ``@context_observer``.

Both work bare, called, with a model's name, class, or a member of its Enum of states; on functions, methods, static and class
methods, coroutines, generators and asynchronous generators. Capture never breaks the business call: the one error of ours
that can come out is ``InvalidTransition``, where the model says ``enforce``. Without a started mesh, or with the mode ``off``,
the function is called as if it were bare.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import AsyncGenerator, Callable, Generator, Iterable
from contextlib import AbstractContextManager, nullcontext
from enum import Enum
from types import FunctionType
from typing import Any, ParamSpec, TypeVar, cast, overload
from weakref import WeakSet

from opentelemetry import trace

from mcp_sdk import current
from mcp_sdk.calls import Call
from mcp_sdk.declarations import Declaration, Plan, Target, check_declarations, declare, place_of, was_declared
from mcp_sdk.telemetry import SCOPE_NAME

__all__ = ["captures", "check_declarations", "context_observer", "misplaced", "model_context"]

P = ParamSpec("P")
R = TypeVar("R")
F = TypeVar("F", bound=Callable[..., Any])
MARK = "__mcp_sdk_captures__"
_wrappers: WeakSet[FunctionType] = WeakSet()


@overload
def model_context(target: type[Any] | str | Enum | None = None, /, **options: Any) -> Callable[[F], F]: ...
@overload
def model_context(target: Callable[P, R], /) -> Callable[P, R]: ...
def model_context(target: Any = None, /, *, model: Target = None, **options: Any) -> Any:
    """Capture the state of the business entity that a method changes.

    ``model`` (or the positional argument) is a model's name, its class, or a member of its Enum of states, which gives the state
    too; without it, every argument of a declared class is captured. ``state`` is the state that the method leads to, or a
    function of its result; without it, what changed on the entity is published. ``from_`` lists the states that it may start
    from, ``on_error`` is the state after an exception, ``id`` is a path from a parameter (``"body.order.number"``) or a
    function of the arguments; ``span=True`` wraps the call in a span. While the method runs its state is tentative; return
    commits, an exception or cancellation aborts. Raises ``ModelError`` at import for an ``id`` that no parameter begins.
    """
    return _decorator(target, model, options, carry=True)


@overload
def context_observer(target: type[Any] | str | Enum | None = None, /, **options: Any) -> Callable[[F], F]: ...
@overload
def context_observer(target: Callable[P, R], /) -> Callable[P, R]: ...
def context_observer(target: Any = None, /, *, model: Target = None, **options: Any) -> Any:
    """Publish what a method changed on the entities that it was given, states and attributes alike.

    Takes ``model`` and ``id`` like ``model_context``. What the method calls does not carry the entities; use
    ``model_context`` for that.
    """
    return _decorator(target, model, options, carry=False)


_OPTIONS = ("state", "from_", "on_error", "id", "span")


def _decorator(target: Any, model: Target, options: dict[str, Any], *, carry: bool) -> Any:
    unknown = [name for name in options if name not in _OPTIONS]
    if unknown:
        raise TypeError(f"unknown option {unknown[0]!r}; the options are: model, {', '.join(_OPTIONS)}")
    if _is_function(target):
        return _wrap(target, None, options, carry=carry)
    chosen = target if target is not None else model
    return lambda function: _wrap(function, chosen, options, carry=carry)


def _is_function(target: Any) -> bool:
    if isinstance(target, (type, str, Enum)) or target is None:
        return False
    return callable(target) or isinstance(target, (staticmethod, classmethod))


def _wrap(function: Any, target: Target, options: dict[str, Any], *, carry: bool) -> Any:
    if isinstance(function, (staticmethod, classmethod)):
        return type(function)(_wrap(function.__func__, target, options, carry=carry))
    stacked = _is_ours(function)
    bare = function.__wrapped__ if stacked else function
    declaration = declare(bare, target, carry=carry, options=options)
    return _captured(bare, (declaration, *captures(function)) if stacked else (declaration,))


def _is_ours(function: Any) -> bool:
    """Tell our own wrapper from one that ``functools.wraps`` gave our mark: that one must go on running."""
    return isinstance(function, FunctionType) and function in _wrappers


def captures(function: Any) -> tuple[Declaration, ...]:
    """Give the declarations on a function, outermost first; empty for one that captures nothing."""
    found: tuple[Declaration, ...] = getattr(function, MARK, ())
    return found


def misplaced(endpoint: Any) -> str:
    """Say what is wrong when a route got the bare function of a decorated one, with its place and the mend; else ``""``.

    That is what a decorator above the route's does: the route's has registered the function before. Integrations ask for each
    of their routes when the application starts.
    """
    bare = inspect.unwrap(endpoint) if callable(endpoint) else endpoint
    if captures(endpoint) or not isinstance(bare, FunctionType) or not was_declared(bare) or _by_name(bare) is bare:
        return ""
    return (
        f"{place_of(bare)}: {bare.__qualname__} is captured above the decorator of its route, which has registered the bare "
        "function: requests capture nothing. Put the route's decorator first."
    )


def _by_name(function: FunctionType) -> Any:
    """Give what the module holds under a function's name now; None for a function of a function."""
    found: Any = sys.modules.get(function.__module__)
    for name in function.__qualname__.split("."):
        found = getattr(found, name, None)
    return found


def _captured(function: Callable[..., Any], declarations: tuple[Declaration, ...]) -> Callable[..., Any]:
    wrapper: Any = functools.wraps(function)(_driver(function)(function, _Opener(declarations)))
    wrapper.__signature__ = inspect.signature(function)
    setattr(wrapper, MARK, declarations)
    _wrappers.add(wrapper)
    return cast("Callable[..., Any]", wrapper)


def _driver(function: Callable[..., Any]) -> Callable[[Callable[..., Any], _Opener], Callable[..., Any]]:
    if inspect.isasyncgenfunction(function):
        return _drive_async_generator
    if inspect.iscoroutinefunction(function):
        return _drive_coroutine
    return _drive_generator if inspect.isgeneratorfunction(function) else _drive_function


class _Opener:
    """Begins calls of one decorated function: finds the mesh, and keeps the plans resolved against its models."""

    __slots__ = ("_declarations", "_mesh", "_plans", "_span", "_version")

    def __init__(self, declarations: tuple[Declaration, ...]) -> None:
        self._declarations = declarations
        self._span = any(declaration.span for declaration in declarations)
        self._mesh: Any = None
        self._version = -1
        self._plans: Iterable[Plan] = ()

    def open(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call | None:
        """Begin a call, or give None where nothing is captured."""
        work = current.record()
        mesh = work.mesh if work is not None and work.mesh is not None else current.installed()
        if mesh is None or not mesh.watching:
            return None
        if mesh is not self._mesh or mesh.models.version != self._version:
            self._resolve(mesh)
        return Call.begin(mesh, self._plans, args, kwargs)  # type: ignore[arg-type]

    def _resolve(self, mesh: Any) -> None:
        plans = []
        for declaration in self._declarations:
            try:
                plans.append(Plan(declaration, mesh.models))
            except Exception as error:  # noqa: BLE001 - an unknown model is reported by Mesh.start; the call goes on
                mesh.telemetry.failed("capture", error)
        self._mesh, self._version, self._plans = mesh, mesh.models.version, plans

    def span(self) -> AbstractContextManager[Any]:
        """Give the span around a call, where the decorator asked for one."""
        if not self._span:
            return _NO_SPAN
        first = self._declarations[0]
        name = first.operation if not isinstance(first.state, str) else f"{first.operation} → {first.state}"
        return trace.get_tracer(SCOPE_NAME).start_as_current_span(name)


_NO_SPAN: AbstractContextManager[Any] = nullcontext()


def _drive_function(function: Callable[..., Any], opener: _Opener) -> Callable[..., Any]:
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        call = opener.open(args, kwargs)
        if call is None:
            return function(*args, **kwargs)
        call.enter()
        try:
            with opener.span():
                result = function(*args, **kwargs)
        except BaseException as error:
            call.abort(error)
            raise
        else:
            call.commit(result)
            return result
        finally:
            call.leave()

    return wrapper


def _drive_coroutine(function: Callable[..., Any], opener: _Opener) -> Callable[..., Any]:
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        call = opener.open(args, kwargs)
        if call is None:
            return await function(*args, **kwargs)
        call.enter()
        try:
            with opener.span():
                result = await function(*args, **kwargs)
        except BaseException as error:
            call.abort(error)
            raise
        else:
            call.commit(result)
            return result
        finally:
            call.leave()

    return wrapper


def _drive_generator(function: Callable[..., Any], opener: _Opener) -> Callable[..., Any]:
    def wrapper(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        generator = function(*args, **kwargs)
        call = opener.open(args, kwargs)
        if call is None:
            return (yield from generator)
        step, value = generator.send, None
        while True:
            outer = current.activate(call.work)
            try:
                item = step(value)
            except StopIteration as stop:
                call.end(value, stop.value)
                return stop.value
            except BaseException as error:
                call.abort(error)
                raise
            finally:
                current.activate(outer)
            try:
                step, value = generator.send, (yield item)
            except BaseException as thrown:  # noqa: BLE001 - what the consumer throws, close() too, belongs to the generator
                step, value = generator.throw, thrown

    return wrapper


def _drive_async_generator(function: Callable[..., Any], opener: _Opener) -> Callable[..., Any]:
    async def wrapper(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        generator = function(*args, **kwargs)
        call = opener.open(args, kwargs)
        step: Callable[[Any], Any] = generator.asend
        value: Any = None
        while True:
            outer = current.activate(call.work) if call is not None else None
            try:
                item = await step(value)
            except StopAsyncIteration:
                if call is not None:
                    call.end(value, None)
                return
            except BaseException as error:
                if call is not None:
                    call.abort(error)
                raise
            finally:
                if call is not None:
                    current.activate(outer)
            try:
                step, value = generator.asend, (yield item)
            except BaseException as thrown:  # noqa: BLE001 - as above
                step, value = generator.athrow, thrown

    return wrapper
