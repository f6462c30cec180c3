"""What ports over database transactions are made of: what waits for which of them, with its savepoints.

A port (``Mesh.on_commit``) finds the transaction that the caller is in, by the objects that changed or, where they do
not say, by ``Begun``; it keeps a ``Deferred`` with each, and tells it what the library tells.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextvars import ContextVar
from functools import partial
from typing import Any, Generic, TypeVar
from weakref import ReferenceType, WeakKeyDictionary, finalize, ref

from mcp_sdk import current

__all__ = ["Begun", "Deferred", "Settle", "hook", "unanimous"]

S = TypeVar("S")
Settle = Callable[[bool], None]
_here: ContextVar[tuple[ReferenceType[Any], ...]] = ContextVar("mcp_sdk_begun", default=())


class Deferred:
    """What waits for one outermost transaction, each with the savepoints around it; for ports.

    ``wrote`` says whether the transaction changed anything: one that only read has nothing to roll back, and publishes
    however it ends. One that is dropped without an end is collected at any moment, maybe inside a lock of ours: its
    settlements are left in ``dropped``, to be called at a better one.
    """

    __slots__ = ("_dropped", "_waiting", "wrote")

    def __init__(self, dropped: deque[Callable[[], None]]) -> None:
        self.wrote = False
        self._dropped = dropped
        self._waiting: list[tuple[frozenset[Hashable], Settle]] = []

    def add(self, settle: Settle, *, inside: Iterable[Hashable]) -> None:
        """Have ``settle`` called at the end; ``inside`` are the transaction and the savepoints that it is in now."""
        self._waiting.append((frozenset(inside), settle))

    def roll_back(self, boundary: Hashable) -> None:
        """Withdraw what was done inside ``boundary``, a savepoint or the outermost transaction."""
        gone = [settle for inside, settle in self._waiting if boundary in inside]
        self._waiting = [(inside, settle) for inside, settle in self._waiting if boundary not in inside]
        for settle in gone:
            settle(False)

    def commit(self) -> None:
        """Publish all that waits, at the outermost commit."""
        self._end(committed=True)

    def close(self) -> None:
        """End without a commit."""
        self._end(committed=not self.wrote)

    def _end(self, *, committed: bool) -> None:
        waiting, self._waiting = self._waiting, []
        for _, settle in waiting:
            settle(committed)

    def __del__(self) -> None:
        for _, settle in self._waiting:
            self._dropped.append(partial(settle, not self.wrote))


def hook(settle: Settle) -> Callable[[], None]:
    """Give what a library is to call at the commit, where it says nothing of a rollback and just lets go of it."""
    call = partial(settle, True)
    finalize(call, settle, False).atexit = False
    return call


def unanimous(settle: Settle, count: int) -> Settle:
    """Give a vote that commits when all of ``count`` transactions have, and withdraws at the first that did not."""
    votes: list[bool] = []

    def vote(committed: bool) -> None:  # noqa: FBT001 - the port's own sense
        votes.append(committed)
        if len(votes) == count or not committed:
            settle(all(votes))

    return vote


class Begun(Generic[S]):
    """Which sessions have begun a transaction, and which of them the caller is in; none is kept alive by it.

    ``is_open`` tells whether a session still is in a transaction.
    """

    def __init__(self, is_open: Callable[[S], bool]) -> None:
        self._is_open = is_open
        self._calls: WeakKeyDictionary[S, current.CallFacts | None] = WeakKeyDictionary()

    def add(self, session: S) -> None:
        """Take note that a session began its outermost transaction, here and now."""
        work = current.record()
        self._calls[session] = work.call if work is not None else None
        _here.set((*(known for known in _here.get() if known() not in (None, session)), ref(session)))

    def discard(self, session: S) -> None:
        """Forget a session whose transaction has ended."""
        self._calls.pop(session, None)

    def last(self) -> list[S]:
        """Give the session that began last in this context and is still open, else in this request; or none."""
        here = [session for known in _here.get() if (session := known()) is not None and self._is_mine(session)]
        return (here or list(self._of_request()))[-1:]

    def _is_mine(self, session: S) -> bool:
        return session in self._calls and self._is_open(session)

    def _of_request(self) -> Iterator[S]:
        work = current.record()
        for known in self._calls.keyrefs():
            session = known()
            if work is not None and session is not None and self._calls.get(session) is work.call:
                yield session
