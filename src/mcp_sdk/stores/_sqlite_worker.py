"""A thread with one connection to a SQLite file, driven from an event loop.

SQLite keeps in memory which locks its process holds on a file. A child that is forked in the middle of a transaction
inherits that memory, and waits for its parent's lock for ever. So a fork waits until no call runs, and connections are
closed before it: https://sqlite.org/howtocorrupt.html, "Carrying an open database file across a fork()".
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Callable
from concurrent.futures import Executor, Future
from functools import partial
from itertools import count
from pathlib import Path
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Any, Concatenate, ParamSpec, TypeVar
from weakref import WeakSet

from mcp_sdk.context import Scope
from mcp_sdk.exceptions import StoreUnavailable
from mcp_sdk.stores._sqlite_file import connect, failures

__all__ = ["Session", "Worker"]

P = ParamSpec("P")
T = TypeVar("T")
_KEPT = ("SQLITE_BUSY", "SQLITE_CONSTRAINT", "SQLITE_FULL", "SQLITE_LOCKED")
_abandoned: list[object] = []
_workers: WeakSet[Worker] = WeakSet()
_numbers = count()
HELD = 5.0
"""Seconds that a fork waits for a call at most."""


class Session:
    """An open connection with a number of its own, and what is known of the file that it is open on."""

    def __init__(self, path: Path, busy_timeout: float) -> None:
        self.number = next(_numbers)
        self.db = connect(path, busy_timeout)
        self._path = path
        self._file = _file(path)
        self._scopes: dict[Scope, int] = {}

    def check(self) -> None:
        """Raise ``StoreUnavailable`` when the path no longer names the open file: what it is told would be lost."""
        if _file(self._path) != self._file:
            raise StoreUnavailable(f"{self._path} was removed or replaced while it was open; it is opened again.")

    def scope(self, scope: Scope) -> int:
        """Give the number of a scope, making one where there is none; outside any transaction."""
        if self.find(scope) < 0:
            self.db.execute("INSERT OR IGNORE INTO scopes (namespace, environment) VALUES (?, ?)", scope)
            self.find(scope)
        return self._scopes[scope]

    def find(self, scope: Scope) -> int:
        """Give the number of a scope, or -1 when nothing was ever stored in it."""
        if scope not in self._scopes:
            row = self.db.execute("SELECT scope FROM scopes WHERE namespace = ? AND environment = ?", scope).fetchone()
            if row is None:
                return -1
            self._scopes[scope] = row[0]
        return self._scopes[scope]


class _OneThread(Executor):
    """Runs what it is given on one thread, in order, until the process is gone.

    A ``ThreadPoolExecutor`` takes no more work once the interpreter exits; the last flush of a process happens then.
    """

    def __init__(self, name: str) -> None:
        self._calls: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        self._thread = Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Give the future of a call."""
        future: Future[T] = Future()
        self._calls.put((future, partial(function, *args, **kwargs)))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 - Executor's
        """End the thread after what was submitted before."""
        del cancel_futures
        self._calls.put(None)
        if wait:
            self._thread.join()

    def _run(self) -> None:
        while (item := self._calls.get()) is not None:
            future, call = item
            if future.set_running_or_notify_cancel():
                _settle(future, call)


def _settle(future: Future[Any], call: Callable[[], Any]) -> None:
    try:
        future.set_result(call())
    except BaseException as error:  # noqa: BLE001 - it belongs to who asked
        future.set_exception(error)


class Worker:
    """Runs functions on its own thread with a session, which it opens when needed and again after a failure.

    A fork closes the session first, and both processes open their own when they need one. Where no hook of Python's
    runs (uWSGI), the child leaves the parent's alone, for closing an inherited connection would break its locks.
    """

    def __init__(self, path: Path, name: str, *, busy_timeout: float) -> None:
        self._path, self._name, self._busy_timeout = path, name, busy_timeout
        self._pid = -1
        self._session: Session | None = None
        self._executor: _OneThread | None = None
        self._busy = Lock()
        self._held = False
        _workers.add(self)

    async def run(self, function: Callable[Concatenate[Session, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Give what ``function(session, …)`` returns; raises ``StoreUnavailable`` and ``StoreError``."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread(), lambda: self._call(function, *args, **kwargs))

    async def call(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Give what ``function(…)`` returns on this thread, without a session."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread(), lambda: self._alone(function, *args, **kwargs))

    def before_fork(self) -> None:
        """Let the call that runs end, keep others from beginning, and close the session."""
        self._held = self._busy.acquire(timeout=HELD)
        if self._held and self._pid == os.getpid():
            self._drop()

    def after_fork(self, *, child: bool) -> None:
        """Go on; in the child with a lock that nobody holds."""
        if child:
            self._busy = Lock()
        elif self._held:
            self._busy.release()

    async def reset(self) -> None:
        """Close the session; the next ``run`` opens one on the file that is there then."""
        await self.call(self._drop)

    async def close(self) -> None:
        """Close the session and end the thread; ``run`` begins anew."""
        if self._executor is None or self._pid != os.getpid():
            return
        executor, self._executor = self._executor, None
        await asyncio.get_running_loop().run_in_executor(executor, self._alone, self._drop)
        executor.shutdown(wait=True)

    def _thread(self) -> _OneThread:
        if self._executor is None or self._pid != os.getpid():
            if self._pid != os.getpid():
                _abandoned.append((self._session, self._executor))
            self._session, self._pid = None, os.getpid()
            self._executor = _OneThread(f"mcp-sdk-sqlite-{self._name}")
        return self._executor

    def _alone(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        with self._busy:
            return function(*args, **kwargs)

    def _call(self, function: Callable[Concatenate[Session, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        with self._busy, failures(self._path):
            try:
                if self._session is None:
                    self._session = Session(self._path, self._busy_timeout)
                self._session.check()
                return function(self._session, *args, **kwargs)
            except (sqlite3.Error, StoreUnavailable, OSError) as error:
                if not str(getattr(error, "sqlite_errorname", "")).startswith(_KEPT):
                    self._drop()
                raise

    def _drop(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            session.db.close()


def _file(path: Path) -> tuple[int, int]:
    status = os.stat(path)  # noqa: PTH116 - before every call, and Path.stat takes twice as long
    return (status.st_dev, status.st_ino)


def _before_fork() -> None:
    for worker in list(_workers):
        worker.before_fork()


def _after_fork(*, child: bool) -> None:
    for worker in list(_workers):
        worker.after_fork(child=child)


os.register_at_fork(
    before=_before_fork,
    after_in_parent=partial(_after_fork, child=False),
    after_in_child=partial(_after_fork, child=True),
)
