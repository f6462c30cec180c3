"""Where a control plane's work runs: values of one process, and an event loop on a thread of its own."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import os
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextlib import suppress
from threading import Lock, Thread
from typing import Any, Generic, TypeVar
from weakref import WeakSet

from mcp_sdk.exceptions import StoreUnavailable
from mcp_sdk.tasks import ended

__all__ = ["CLOSED", "LoopThread", "PerProcess"]

T = TypeVar("T")
CLOSED = "the control plane is closed. Make and start another one."
logger = logging.getLogger("mcp_sdk.control")
_abandoned: list[object] = []
_instances: WeakSet[PerProcess[Any]] = WeakSet()


class PerProcess(Generic[T]):
    """A value that each process makes for itself: a forked child never touches its parent's locks, queue or threads.

    ``make`` gives the value of a process and must begin nothing that has to be ended, for it may be called by two
    threads at once; ``inherited`` is told the parent's value when a child begins with its own. The parent's is kept,
    untouched. The process id is looked at on every ``get``: uWSGI forks without running Python's hooks.
    """

    def __init__(self, make: Callable[[], T], inherited: Callable[[T], None] | None = None) -> None:
        self._make, self._inherited = make, inherited
        self._values: dict[int, T] = {}
        self._before: list[T] = []
        _instances.add(self)

    def get(self) -> T:
        """Give this process's value."""
        value = self._values.get(os.getpid())
        return self._begin() if value is None else value

    def peek(self) -> T | None:
        """Give this process's value if there is one."""
        return self._values.get(os.getpid())

    def after_fork(self) -> None:
        """Put the parent's value aside; a child may get the process id of an ancestor that is gone."""
        self._before = list(self._values.values())
        self._values = {}

    def _begin(self) -> T:
        before = list(self._values.values()) + self._before
        made = self._make()
        value = self._values.setdefault(os.getpid(), made)
        if value is made and before:
            _abandoned.extend(before)
            if self._inherited is not None:
                self._inherited(before[-1])
        return value


def _after_fork() -> None:
    for instance in list(_instances):
        instance.after_fork()


os.register_at_fork(after_in_child=_after_fork)


class LoopThread:
    """An event loop on a daemon thread that starts with the first call.

    Work runs in a ``contextvars.Context`` of its own: asyncio would give it a copy of the caller's, and a long task
    would hold its first request's values for ever.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: Thread | None = None
        self._stopped = False
        self._context = contextvars.Context()

    @property
    def running(self) -> bool:
        """Whether the thread has begun and was not told to stop."""
        return self._loop is not None and not self._stopped

    def call(self, function: Callable[..., object], *args: object) -> bool:
        """Have ``function(*args)`` called on the thread, soon; False when it was told to stop."""
        with self._lock:
            if self._stopped:
                return False
            loop = self._loop or self._start()
            loop.call_soon_threadsafe(function, *args, context=self._context)
            return True

    def submit(self, work: Callable[[], Coroutine[Any, Any, T]]) -> Future[T]:
        """Run ``work()`` on the thread and give its result, or ``StoreUnavailable`` where the thread stops before."""
        future: Future[T] = Future()
        if not self.call(self._spawn, work, future):
            future.set_exception(StoreUnavailable(CLOSED))
        return future

    def stop(self, timeout: float) -> bool:
        """Cancel all tasks and end the thread, within ``timeout`` seconds; tell whether it ended."""
        with self._lock:
            if self._loop is not None and not self._stopped:
                self._loop.call_soon_threadsafe(self._loop.stop)
            self._stopped = True
        if self._thread is None:
            return True
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _spawn(self, work: Callable[[], Coroutine[Any, Any, T]], future: Future[T]) -> None:
        if not future.set_running_or_notify_cancel():
            return
        task = asyncio.get_running_loop().create_task(work())
        task.add_done_callback(lambda done: _copy(done, future))

    def _start(self) -> asyncio.AbstractEventLoop:
        self._loop = loop = asyncio.new_event_loop()
        self._thread = Thread(target=contextvars.Context().run, args=(_run, loop), name=self._name, daemon=True)
        self._thread.start()
        return loop


def _run(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
        while tasks := asyncio.all_tasks(loop):
            loop.run_until_complete(ended(tasks))
        loop.run_until_complete(loop.shutdown_asyncgens())
        with suppress(RuntimeError):  # at the interpreter's exit it can start no thread, and its threads have ended
            loop.run_until_complete(loop.shutdown_default_executor())
    finally:
        asyncio.set_event_loop(None)
        loop.close()


def _copy(task: asyncio.Task[T], future: Future[T]) -> None:
    if task.cancelled():
        future.set_exception(StoreUnavailable(CLOSED))
    elif (error := task.exception()) is not None:
        future.set_exception(error)
    else:
        future.set_result(task.result())
