"""The decorators: ``@model_context`` and ``@context_observer``.

Both work bare, called, with a model's name, class, or a member of its Enum of states; on functions, methods, static and
class methods, coroutines, generators and asynchronous generators. Capture never breaks the business call: the one error
of ours that can come out is ``InvalidTransition``, where the model says ``enforce``. Without a started mesh, or with
the mode ``off``, the function is called as if it were bare.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import itertools
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from enum import Enum
from types import FrameType, FunctionType, MethodType
from typing import Any, TypedDict, TypeVar, Unpack, cast, overload
from weakref import WeakSet

from opentelemetry import trace

from mcp_sdk import current
from mcp_sdk.calls import Call
from mcp_sdk.declarations import (
    Declaration,
    Plan,
    State,
    Target,
    check_declarations,
    declare,
    place_of,
    signature_of,
    was_declared,
)
from mcp_sdk.exceptions import InvalidTransition, ModelError, did_you_mean
from mcp_sdk.quick import QuickCall, QuickPlan
from mcp_sdk.telemetry import SCOPE_NAME

__all__ = [
    "CaptureOptions",
    "ObserverOptions",
    "captures",
    "check_declarations",
    "context_observer",
    "misplaced",
    "model_context",
]

F = TypeVar("F", bound=Callable[..., Any])
MARK = "__mcp_sdk_captures__"
_wrappers: WeakSet[FunctionType] = WeakSet()


class ObserverOptions(TypedDict, total=False):
    """What ``@context_observer`` takes by name."""

    model: Target
    id: str | Callable[..., Any] | None
    span: bool


class CaptureOptions(ObserverOptions, total=False):
    """What ``@model_context`` takes by name."""

    state: State
    from_: str | Enum | Iterable[str | Enum] | None
    on_error: str | Enum | None


@overload
def model_context(
    target: type[Any] | str | Enum | None = None, /, **options: Unpack[CaptureOptions]
) -> Callable[[F], F]: ...
@overload
def model_context(target: F, /) -> F: ...
def model_context(target: Any = None, /, **options: Any) -> Any:
    """Capture the state of the business entity that a method changes.

    ``model`` (or the positional argument) is a model's name, its class, or a member of its Enum of states, which gives
    the state too; without it, every argument of a declared class is captured. ``state`` is the state that the method
    leads to, or a function of its result; without it, what changed on the entity is published. ``from_`` lists the
    states that it may start from, ``on_error`` is the state after an exception, ``id`` is a path from a parameter
    (``"body.order.number"``) or a function of the arguments; ``span=True`` wraps the call in a span.

    While the method runs its state is tentative; return commits, an exception or cancellation aborts. When the entity
    moves inside, that move stays and the return commits nothing; ``on_error`` follows it. Raises ``ModelError``, with
    the decorator's file:line:column, at import for what the signature rules out.
    """
    return _decorator(target, options, _OPTIONS, _caller(inspect.currentframe()))


@overload
def context_observer(
    target: type[Any] | str | Enum | None = None, /, **options: Unpack[ObserverOptions]
) -> Callable[[F], F]: ...
@overload
def context_observer(target: F, /) -> F: ...
def context_observer(target: Any = None, /, **options: Any) -> Any:
    """Publish what a method changed on the entities that it was given, states and attributes alike.

    Takes ``model``, ``id`` and ``span`` like ``model_context``. What the method calls does not carry the entities; use
    ``model_context`` for that.
    """
    return _decorator(target, options, _OBSERVER_OPTIONS, _caller(inspect.currentframe()))


_OBSERVER_OPTIONS = tuple(ObserverOptions.__annotations__)
_OPTIONS = tuple(CaptureOptions.__annotations__)


def _caller(frame: FrameType | None) -> str:
    """Give ``file:line:column`` of the call that ``frame`` was called by; empty where the interpreter does not tell."""
    if frame is None or frame.f_back is None:
        return ""
    outer = frame.f_back
    line, _, column, _ = next(itertools.islice(outer.f_code.co_positions(), outer.f_lasti // 2, None), (None,) * 4)
    return f"{outer.f_code.co_filename}:{line or outer.f_lineno}:{(column or 0) + 1}"


def _decorator(target: Any, options: dict[str, Any], valid: tuple[str, ...], where: str) -> Any:
    unknown = next((name for name in options if name not in valid), None)
    if unknown is not None:
        raise ModelError(f"{where}: unknown option {unknown!r}.{did_you_mean(unknown, valid)}")
    carry = valid is _OPTIONS
    if _is_function(target):
        return _wrap(target, None, options, carry=carry, where=where)
    chosen = target if target is not None else options.get("model")
    if not (chosen is None or isinstance(chosen, (str, type, Enum))):
        raise ModelError(f"{where}: a model is named by its name, its class or a member of its Enum, not {chosen!r}")
    return lambda function: _wrap(function, chosen, options, carry=carry, where=where)


def _is_function(target: Any) -> bool:
    if isinstance(target, (type, str, Enum)) or target is None:
        return False
    return callable(target) or isinstance(target, (staticmethod, classmethod))


def _wrap(function: Any, target: Target, options: dict[str, Any], *, carry: bool, where: str) -> Any:
    if isinstance(function, (staticmethod, classmethod)):
        return type(function)(_wrap(function.__func__, target, options, carry=carry, where=where))
    if not _is_function(function):
        raise ModelError(f"{where}: only functions and methods are captured, not {function!r}")
    stacked = _is_ours(function)
    bare = function.__wrapped__ if stacked else function
    declaration = declare(bare, target, carry=carry, options=options, where=where)
    return _captured(bare, (declaration, *captures(function)) if stacked else (declaration,))


def _is_ours(function: Any) -> bool:
    """Tell our own wrapper from one that ``functools.wraps`` gave our mark: that one must go on running."""
    return isinstance(function, FunctionType) and function in _wrappers


def captures(function: Any) -> tuple[Declaration, ...]:
    """Give the declarations on a function, outermost first; empty for one that captures nothing."""
    found: tuple[Declaration, ...] = getattr(function, MARK, ())
    return found


def misplaced(endpoint: Any) -> str:
    """Say what is wrong when a route got the bare function of a decorated one, with place and mend; else ``""``.

    That is what a decorator above the route's does: the route's has registered the function before. Integrations ask
    for each of their routes when the application starts.
    """
    bare = inspect.unwrap(endpoint) if callable(endpoint) else endpoint
    if captures(endpoint) or not isinstance(bare, FunctionType) or not was_declared(bare) or _by_name(bare) is bare:
        return ""
    return (
        f"{place_of(bare)}: {bare.__qualname__} is captured above the decorator of its route, which has registered the "
        "bare function: requests capture nothing. Put the route's decorator first."
    )


def _by_name(function: FunctionType) -> Any:
    """Give what the module holds under a function's name now; None for a function of a function."""
    found: Any = sys.modules.get(function.__module__)
    for name in function.__qualname__.split("."):
        found = getattr(found, name, None)
    return found


def _captured(function: Callable[..., Any], declarations: tuple[Declaration, ...]) -> Callable[..., Any]:
    opener = _Opener(declarations)
    body = _spanned(function, opener.span) if any(declaration.span for declaration in declarations) else function
    wrapper: Any = functools.wraps(function)(_driver(function)(body, opener))
    with contextlib.suppress(TypeError, ValueError):
        wrapper.__signature__ = signature_of(function)
    setattr(wrapper, MARK, declarations)
    _wrappers.add(wrapper)
    return cast("Callable[..., Any]", wrapper)


def _kind(function: Any) -> Any:
    """Give what tells a coroutine or a generator: a function, or what stands behind an object's call."""
    if isinstance(function, (FunctionType, MethodType, functools.partial)):
        return function
    return type(function).__call__


def _driver(function: Callable[..., Any]) -> Callable[[Callable[..., Any], _Opener], Callable[..., Any]]:
    kind = _kind(function)
    if inspect.isasyncgenfunction(kind):
        return _drive_async_generator
    if inspect.iscoroutinefunction(kind):
        return _drive_coroutine
    return _drive_generator if inspect.isgeneratorfunction(kind) else _drive_function


class _Opener:
    """Begins calls of one decorated function: finds the mesh, and keeps the plans resolved against its models."""

    __slots__ = ("_declarations", "_resolved")

    def __init__(self, declarations: tuple[Declaration, ...]) -> None:
        self._declarations = declarations
        self._resolved: tuple[Any, int, Sequence[Plan], QuickPlan | None] = (None, -1, (), None)

    def open(self, work: current.Record | None, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call | None:
        """Begin a call, or give None where nothing is captured; raises ``InvalidTransition``, nothing else of ours.

        ``work`` is the record that is held; drivers put it back.
        """
        if work is None and current.beneath:
            work = current.record()
        mesh = work.mesh if work is not None and work.mesh is not None else current.installed()
        if mesh is None or not mesh.watching:
            return None
        resolved, version, plans, quick = self._resolved
        if mesh is not resolved or mesh.models.version != version:
            plans, quick = self._resolve(mesh)
        if quick is not None:
            try:
                call = QuickCall.start(quick, work, args, kwargs)
                if call is not None:
                    return call
            except Exception:  # noqa: BLE001, S110 - nothing was done yet: the general path finds out what is wrong
                pass
        return self._general(mesh, plans, args, kwargs)

    def _general(self, mesh: Any, plans: Sequence[Plan], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call | None:
        try:
            return Call.begin(mesh, plans, args, kwargs)
        except InvalidTransition:
            raise
        except Exception as error:  # noqa: BLE001 - capture never breaks the business call
            mesh.telemetry.failed("capture", error)
            return None

    def _resolve(self, mesh: Any) -> tuple[Sequence[Plan], QuickPlan | None]:
        version: int = mesh.models.version
        plans: list[Plan] = []
        for declaration in self._declarations:
            try:
                plans.append(Plan(declaration, mesh.models))
            except Exception as error:  # noqa: BLE001 - an unknown model is reported by Mesh.start; the call goes on
                mesh.telemetry.failed("capture", error)
        quick = QuickPlan.of(mesh, plans) if len(plans) == len(self._declarations) else None
        self._resolved = (mesh, version, plans, quick)
        return plans, quick

    def span(self) -> AbstractContextManager[Any]:
        """Give the span around a call: named by what the method does, and silent about the text of exceptions."""
        first = self._declarations[0]
        name = first.operation if not isinstance(first.state, str) else f"{first.operation} → {first.state}"
        return _span(name)


@contextlib.contextmanager
def _span(name: str) -> Iterator[None]:
    tracer = trace.get_tracer(SCOPE_NAME)
    with tracer.start_as_current_span(name, record_exception=False, set_status_on_exception=False) as span:
        try:
            yield
        except Exception as error:
            span.set_status(trace.StatusCode.ERROR, type(error).__name__)
            raise


def _spanned(function: Callable[..., Any], span: Callable[[], AbstractContextManager[Any]]) -> Callable[..., Any]:
    kind = _kind(function)
    if inspect.isgeneratorfunction(kind) or inspect.isasyncgenfunction(kind):
        raise ModelError(
            f"{function.__qualname__}: span=True does not go with a generator, whose steps belong to its consumer"
        )

    def call(*args: Any, **kwargs: Any) -> Any:
        with span():
            return function(*args, **kwargs)

    async def acall(*args: Any, **kwargs: Any) -> Any:
        with span():
            return await function(*args, **kwargs)

    return acall if inspect.iscoroutinefunction(kind) else call


def _drive_function(function: Callable[..., Any], opener: _Opener) -> Callable[..., Any]:
    begin, held, set_record = opener.open, current.held, current.set_record

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        before = held()
        call = begin(before, args, kwargs)
        if call is None:
            return function(*args, **kwargs)
        set_record(call.work)
        try:
            result = function(*args, **kwargs)
        except BaseException as error:
            call.abort(error)
            raise
        else:
            call.commit(result)
            return result
        finally:
            set_record(before)

    return wrapper


def _drive_coroutine(function: Callable[..., Any], opener: _Opener) -> Callable[..., Any]:
    begin, held, set_record = opener.open, current.held, current.set_record

    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        before = held()
        call = begin(before, args, kwargs)
        if call is None:
            return await function(*args, **kwargs)
        set_record(call.work)
        try:
            result = await function(*args, **kwargs)
        except BaseException as error:
            call.abort(error)
            raise
        else:
            call.commit(result)
            return result
        finally:
            set_record(before)

    return wrapper


def _drive_generator(function: Callable[..., Any], opener: _Opener) -> Callable[..., Any]:
    def wrapper(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        generator = function(*args, **kwargs)
        call = opener.open(current.held(), args, kwargs)
        if call is None:
            return (yield from generator)
        step, value = generator.send, None
        while True:
            outer = call.enter()
            try:
                item = step(value)
            except StopIteration as stop:
                call.end(value, stop.value)
                return stop.value
            except BaseException as error:
                call.abort(error)
                raise
            finally:
                current.set_record(outer)
            try:
                step, value = generator.send, (yield item)
            except BaseException as thrown:  # noqa: BLE001 - what the consumer throws, close() too, is the generator's
                step, value = generator.throw, thrown

    return wrapper


def _drive_async_generator(function: Callable[..., Any], opener: _Opener) -> Callable[..., Any]:
    async def wrapper(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        call = opener.open(current.held(), args, kwargs)
        generator = function(*args, **kwargs)
        step, value = _first(generator), None
        while True:
            outer = call.enter() if call is not None else None
            try:
                item = await step
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
                    current.set_record(outer)
            try:
                value = yield item
                step = generator.asend(value)
            except BaseException as thrown:  # noqa: BLE001 - as above
                value, step = thrown, generator.athrow(thrown)

    return wrapper


def _first(generator: AsyncGenerator[Any, Any]) -> Awaitable[Any]:
    """Give the first step, hidden from the loop: it would close the inner generator while its wrapper does."""
    hooks = sys.get_asyncgen_hooks()
    sys.set_asyncgen_hooks(None, None)
    try:
        return generator.asend(None)
    finally:
        sys.set_asyncgen_hooks(*hooks)
