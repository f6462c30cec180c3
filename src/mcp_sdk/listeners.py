"""``mesh.on_transition``: the application's functions that are called when an entity moves, here or elsewhere."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeVar

from mcp_sdk.context import Transition
from mcp_sdk.declarations import place_of
from mcp_sdk.models import state_name
from mcp_sdk.ports import AppendStatus, Change
from mcp_sdk.registry import Registry
from mcp_sdk.telemetry import Telemetry

__all__ = ["Listener", "Listeners"]

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Listener:
    """One function and the moves it wants; None matches any state."""

    function: Callable[[Transition], Any]
    model: str
    from_state: str | None = None
    to_state: str | None = None

    def wants(self, event: Transition) -> bool:
        """Tell whether a transition is one of those."""
        return (
            event.model == self.model
            and self.from_state in (None, event.from_state)
            and self.to_state in (None, event.to_state)
        )


class Listeners:
    """Calls listeners one transition at a time: coroutines on ``loop`` (the application's), the rest on a thread.

    The thread starts in a fresh context, so that no listener keeps the first request's record for ever.
    """

    def __init__(self, telemetry: Telemetry) -> None:
        self.loop: asyncio.AbstractEventLoop | None = None
        self._telemetry = telemetry
        self._listeners: list[Listener] = []
        self._pool: ThreadPoolExecutor | None = None
        self._pid = 0

    @property
    def models(self) -> frozenset[str]:
        """The models whose moves somebody wants."""
        return frozenset(listener.model for listener in self._listeners)

    def add(self, model: str, *, from_: str | Enum | None, to: str | Enum | None) -> Callable[[F], F]:
        """Give a decorator that adds a function and returns it unchanged."""

        def register(function: F) -> F:
            start, end = (None if state is None else state_name(state) for state in (from_, to))
            self._listeners.append(Listener(function, model, start, end))
            return function

        return register

    def check(self, registry: Registry) -> None:
        """Raise ``UnknownModel`` or ``UnknownState``, with its place, for a listener that nothing could reach."""
        if registry.open:
            return
        for listener in self._listeners:
            where = place_of(listener.function)
            model = registry.named(listener.model, where=where)
            for state in filter(None, (listener.from_state, listener.to_state)):
                model.check_state(state, where=where)

    def hear(self, change: Change) -> None:
        """Pass a change on to those who want it; returns at once."""
        if change.applied is None or change.applied.status is not AppendStatus.APPLIED:
            return
        event = change.applied.transition
        for listener in self._listeners:
            if listener.wants(event):
                self._dispatch(listener, event)

    def _dispatch(self, listener: Listener, event: Transition) -> None:
        loop = self.loop
        if inspect.iscoroutinefunction(listener.function) and loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self._spawn, loop, listener, event, context=contextvars.Context())
        else:
            self._executor().submit(contextvars.Context().run, self._call, listener, event)

    def _spawn(self, loop: asyncio.AbstractEventLoop, listener: Listener, event: Transition) -> None:
        task = loop.create_task(self._await(listener, event))
        _running.add(task)
        task.add_done_callback(_running.discard)

    async def _await(self, listener: Listener, event: Transition) -> None:
        try:
            await listener.function(event)
        except Exception as error:  # noqa: BLE001 - the listener is the user's; one that fails must not stop the others
            self._telemetry.failed("listener", error)

    def _call(self, listener: Listener, event: Transition) -> None:
        try:
            result = listener.function(event)
            if inspect.isawaitable(result):
                asyncio.run(_finish(result))
        except Exception as error:  # noqa: BLE001 - as above
            self._telemetry.failed("listener", error)

    def _executor(self) -> ThreadPoolExecutor:
        if self._pool is None or self._pid != os.getpid():
            self._pool = ThreadPoolExecutor(1, thread_name_prefix="mcp-sdk-listener")
            self._pid = os.getpid()
        return self._pool

    def close(self) -> None:
        """Let what runs finish, start nothing more."""
        pool, self._pool, self.loop = self._pool, None, None
        if pool is not None and self._pid == os.getpid():
            pool.shutdown(wait=False, cancel_futures=True)


_running: set[asyncio.Task[None]] = set()


async def _finish(result: Any) -> None:
    await result
