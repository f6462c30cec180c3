"""What every enforcement point shares, sans I/O: look up what policies need, merge, and who waits how.

A flow is a generator. It yields an *effect* (``Fetch``, ``Run``, ``Wait``) and is sent the answer; what it returns is
the result. ``drive`` runs a flow in synchronous code, ``adrive`` on an asyncio loop; there is no second copy of any
flow.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator, Mapping
from concurrent.futures import Future
from dataclasses import replace
from typing import Any, NamedTuple, Protocol, TypeVar

from mcp_sdk import current
from mcp_sdk.config import Config
from mcp_sdk.context import EntityRef, ModelContext
from mcp_sdk.decisions import Decision, DecisionRequest, Principal, Shed
from mcp_sdk.exceptions import ConfigurationError
from mcp_sdk.ports import ControlPlane
from mcp_sdk.telemetry import Telemetry

__all__ = [
    "Consult",
    "Fetch",
    "Run",
    "Steps",
    "Wait",
    "adrive",
    "aperform",
    "ask",
    "believed",
    "completed",
    "decision",
    "drive",
    "identify",
    "missing",
    "newest",
    "perform",
    "resolve",
]

T = TypeVar("T")
Found = Mapping[EntityRef, ModelContext]
_NOTHING: Found = {}


class Fetch(NamedTuple):
    """Look entities up, ``fetch_timeout`` seconds at most; the answer maps what was found."""

    refs: tuple[EntityRef, ...]


class Consult(NamedTuple):
    """Have a question decided by the server; the answer is the decision, a refusal where none comes in time."""

    request: DecisionRequest


class Run(NamedTuple):
    """Call a function that may block: off the loop where there is one. What it raises is raised in the flow."""

    function: Callable[[], Any]


class Wait(NamedTuple):
    """Await something, which only ``adrive`` can."""

    awaitable: Awaitable[Any]


Effect = Fetch | Consult | Run | Wait
Steps = Generator[Effect, Any, T]


class Host(Protocol):
    """What enforcement needs of the mesh to look entities up."""

    config: Config
    telemetry: Telemetry

    @property
    def control_plane(self) -> ControlPlane:
        """The plane that is asked."""

    def decide(self, request: DecisionRequest, answer: Decision | None = None) -> Decision:
        """Decide, or take the answer that came from elsewhere; count and log it."""


def believed(mesh: Host, contexts: Mapping[str, ModelContext]) -> dict[str, ModelContext]:
    """Give the contexts that policies may look at: all of them at ``open`` ingress, else those that may be believed."""
    if mesh.config.ingress == "open":
        return dict(contexts)
    return {name: context for name, context in contexts.items() if context.trust.counts}


def newest(held: ModelContext | None, found: ModelContext) -> ModelContext:
    """Give the newer of two contexts of one entity; of equals ``found``, which came from nearer the store."""
    return held if held is not None and held.rank > found.rank else found


def resolve(mesh: Host, request: DecisionRequest) -> Generator[Fetch, Found, DecisionRequest]:
    """Look up the references that policies in force look at and nobody has brought; what is not found stays absent."""
    refs = missing(mesh, request)
    return completed(request, (yield Fetch(refs))) if refs else request


def ask(mesh: Host, request: DecisionRequest) -> Generator[Consult, Decision, Decision]:
    """Have a question decided: here, or by the server where the configuration says so."""
    if mesh.config.evaluation == "local":
        return mesh.decide(request)
    return mesh.decide(request, (yield Consult(request)))


def missing(mesh: Host, request: DecisionRequest) -> tuple[EntityRef, ...]:
    """Give the references that policies in force look at and nobody has brought."""
    brought = request.contexts
    for ref in request.references:
        if ref.model not in brought:
            break
    else:
        return ()
    try:
        return tuple(mesh.control_plane.needs(request))
    except Exception as error:  # noqa: BLE001 - absent contexts make refusing rules match: closed, and no crash
        mesh.telemetry.failed("needs", error)
        return ()


def completed(request: DecisionRequest, found: Found) -> DecisionRequest:
    """Give a request with what was looked up for it."""
    if not found:
        return request
    contexts = dict(request.contexts)
    for ref, context in found.items():
        contexts[ref.model] = newest(contexts.get(ref.model), context)
    return replace(request, contexts=contexts)


def drive(mesh: Host, steps: Steps[T]) -> T:
    """Run a flow in synchronous code; effects block the thread."""
    try:
        effect = next(steps)
        while True:
            try:
                answer = perform(mesh, effect)
            except Exception as error:  # noqa: BLE001 - the flow knows what to make of it
                effect = steps.throw(error)
            else:
                effect = steps.send(answer)
    except StopIteration as stop:
        result: T = stop.value
        return result


async def adrive(mesh: Host, steps: Steps[T]) -> T:
    """Run a flow on the running asyncio loop; effects never block it."""
    try:
        effect = next(steps)
        while True:
            try:
                answer = await aperform(mesh, effect)
            except Exception as error:  # noqa: BLE001 - the flow knows what to make of it
                effect = steps.throw(error)
            else:
                effect = steps.send(answer)
    except StopIteration as stop:
        result: T = stop.value
        return result


def perform(mesh: Host, effect: Effect) -> Any:
    """Do what a flow asks for, blocking; raises what ``Run`` raised, and ``ConfigurationError`` for ``Wait``."""
    if isinstance(effect, Fetch):
        return _fetch(mesh, effect)
    if isinstance(effect, Consult):
        return _consult(mesh, effect)
    if isinstance(effect, Run):
        return effect.function()
    close = getattr(effect.awaitable, "close", None)
    if close is not None:
        close()
    raise ConfigurationError("an asynchronous reader cannot be awaited under WSGI; give a plain function")


async def aperform(mesh: Host, effect: Effect) -> Any:
    """Do what a flow asks for on the running loop; raises what ``Run`` and ``Wait`` raised."""
    if isinstance(effect, Fetch):
        return await _afetch(mesh, effect)
    if isinstance(effect, Consult):
        return await _aconsult(mesh, effect)
    if isinstance(effect, Run):
        return await asyncio.to_thread(effect.function)
    return await effect.awaitable


def _fetch(mesh: Host, effect: Fetch) -> Found:
    try:
        return mesh.control_plane.fetch(effect.refs).result(mesh.config.fetch_timeout)
    except TimeoutError:
        mesh.telemetry.dropped("fetch", "late")
    except Exception as error:  # noqa: BLE001 - a store that is away must not fail the request: absent
        mesh.telemetry.failed("fetch", error)
    return _NOTHING


async def _afetch(mesh: Host, effect: Fetch) -> Found:
    try:
        future = mesh.control_plane.fetch(effect.refs)
        if not future.done():
            await _arrival(future, mesh.config.fetch_timeout)
        if future.done():
            return future.result()
        mesh.telemetry.dropped("fetch", "late")
    except Exception as error:  # noqa: BLE001 - as above
        mesh.telemetry.failed("fetch", error)
    return _NOTHING


def _consult(mesh: Host, effect: Consult) -> Decision:
    try:
        future = mesh.control_plane.consult(effect.request)
        if future is not None:
            return future.result(mesh.config.evaluation_timeout)
    except Exception as error:  # noqa: BLE001 - what nobody decided is refused
        return _undecided(mesh, error)
    return mesh.control_plane.decide(effect.request)


async def _aconsult(mesh: Host, effect: Consult) -> Decision:
    try:
        future = mesh.control_plane.consult(effect.request)
        if future is not None:
            await _arrival(future, mesh.config.evaluation_timeout)
            return future.result(0)
    except Exception as error:  # noqa: BLE001 - as above
        return _undecided(mesh, error)
    return mesh.control_plane.decide(effect.request)


def _undecided(mesh: Host, error: Exception) -> Decision:
    if isinstance(error, TimeoutError):
        mesh.telemetry.dropped("consult", "late")
    else:
        mesh.telemetry.failed("consult", error)
    return Decision(Shed(1.0, message="The control plane does not answer"))


async def _arrival(future: Future[Any], seconds: float) -> None:
    """Wait for a future without cancelling it, for others may wait for the same one."""
    waiting = asyncio.wrap_future(future)
    waiting.add_done_callback(_seen)
    await asyncio.wait([waiting], timeout=seconds)


def _seen(waiting: asyncio.Future[Any]) -> None:
    if not waiting.cancelled():
        waiting.exception()


def decision(carrier: Any) -> Decision | None:
    """Give the decision on a Starlette or Django request, an ASGI scope or a WSGI environ; None without one."""
    found = getattr(carrier, "mesh_decision", None)
    for mapping in (carrier, getattr(carrier, "scope", None), getattr(carrier, "environ", None)):
        if isinstance(mapping, Mapping) and not isinstance(found, Decision):
            found = mapping.get("mcp_sdk.decision")
    return found if isinstance(found, Decision) else None


def identify(principal: Principal) -> None:
    """Say who calls, where the application finds out only after the middleware; ``@requires_permit`` sees it."""
    work = current.record_or_new()
    work.call.principal = principal
