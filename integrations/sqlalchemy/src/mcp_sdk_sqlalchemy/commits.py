"""The transaction port over sessions.

A session's transaction, with the savepoints inside it, is one ``_Unit``. It lives in ``session.info``, so that a
session which is dropped without being closed takes it along, and its connection goes back to the pool.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from contextvars import ContextVar
from functools import partial
from typing import Any
from weakref import ReferenceType, WeakKeyDictionary, ref

from sqlalchemy import event, inspect
from sqlalchemy.orm import InstanceState, ORMExecuteState, Session, SessionTransaction

from mcp_sdk import current

__all__ = ["SessionCommits"]

Settle = Callable[[bool], None]
_begun_here: ContextVar[tuple[ReferenceType[Session], ...]] = ContextVar("mcp_sdk_sqlalchemy_sessions", default=())


class _Unit:
    """What waits for one outermost transaction, each with the savepoints around it; and whether that wrote anything."""

    __slots__ = ("_abandoned", "_waiting", "wrote")

    def __init__(self, abandoned: deque[Callable[[], None]]) -> None:
        self.wrote = False
        self._abandoned = abandoned
        self._waiting: list[tuple[frozenset[SessionTransaction], Settle]] = []

    def add(self, session: Session, settle: Settle) -> None:
        self.wrote = self.wrote or bool(session.new or session.dirty or session.deleted)
        self._waiting.append((frozenset(_enclosing(_innermost(session))), settle))

    def roll_back(self, boundary: SessionTransaction | None) -> None:
        """Withdraw what was done inside ``boundary``, a savepoint or the outermost transaction."""
        gone = [settle for around, settle in self._waiting if boundary in around]
        self._waiting = [(around, settle) for around, settle in self._waiting if boundary not in around]
        for settle in gone:
            settle(False)

    def settle(self, committed: bool) -> None:  # noqa: FBT001 - the port's own sense
        waiting, self._waiting = self._waiting, []
        for _, settle in waiting:
            settle(committed)

    def __del__(self) -> None:
        for _, settle in self._waiting:  # collected at any moment, maybe inside a lock of ours: settled at a better one
            self._abandoned.append(partial(settle, not self.wrote))


class SessionCommits:
    """Defers transitions to the outermost commit of the session that the changed objects are in.

    Without such an object it is the session that began last in this context and is still open, else in this request. A
    rollback withdraws transitions, one to a savepoint those made inside it. A session that is closed (or dropped)
    without a commit withdraws them if it wrote anything; one that only read had nothing to roll back, and publishes.
    """

    def __init__(self, sessions: Any = Session) -> None:
        self._abandoned: deque[Callable[[], None]] = deque()
        self._open: WeakKeyDictionary[Session, current.CallFacts | None] = WeakKeyDictionary()
        self._undo: list[Callable[[], None]] = []
        for name in (
            "after_transaction_create",
            "after_flush",
            "do_orm_execute",
            "after_commit",
            "after_rollback",
            "after_transaction_end",
        ):
            self._listen(sessions, name, getattr(self, f"_{name}"))

    def _listen(self, sessions: Any, name: str, function: Callable[..., None]) -> None:
        event.listen(sessions, name, function)
        self._undo.append(lambda: event.remove(sessions, name, function))

    def on_close(self, undo: Callable[[], None]) -> None:
        """Have ``undo`` called by ``close``."""
        self._undo.append(undo)

    def close(self) -> None:
        """Stop listening to sessions: transitions are published at once from here on."""
        undo, self._undo = self._undo, []
        for step in undo:
            step()

    def defer(self, subjects: Sequence[object], settle: Settle) -> bool:
        """Have ``settle`` called at the end of the transaction that the caller is in; False outside any."""
        self._clear_up()
        sessions = list(dict.fromkeys(_sessions_of(subjects))) or self._session_at_hand()
        units = [(session, session.info[self]) for session in sessions if self._waits(session)]
        vote = settle if len(units) < 2 else _all_of(settle, len(units))
        for session, unit in units:
            unit.add(session, vote)
        return bool(units)

    def _clear_up(self) -> None:
        with suppress(IndexError):  # another thread may be at it too
            while True:
                self._abandoned.popleft()()

    def _waits(self, session: Session) -> bool:
        return self in session.info and session.in_transaction()

    def _session_at_hand(self) -> list[Session]:
        here = [session for session in map(_alive, _begun_here.get()) if session is not None and self._waits(session)]
        return (here or list(self._of_this_request()))[-1:]

    def _of_this_request(self) -> Iterator[Session]:
        work = current.record()
        for reference in self._open.keyrefs():
            session = reference()
            if work is not None and session is not None and self._open.get(session) is work.call:
                yield session

    def _after_transaction_create(self, session: Session, transaction: SessionTransaction) -> None:
        if transaction.parent is not None:
            return
        self._clear_up()
        session.info.setdefault(self, _Unit(self._abandoned))
        work = current.record()
        self._open[session] = work.call if work is not None else None
        others = (known for known in _begun_here.get() if (other := known()) is not None and other.in_transaction())
        _begun_here.set((*(known for known in others if known() is not session), ref(session)))

    def _after_flush(self, session: Session, context: object) -> None:
        del context
        if self in session.info:
            session.info[self].wrote = True

    def _do_orm_execute(self, state: ORMExecuteState) -> None:
        if not state.is_select:  # the statement that begins a transaction is announced before it has begun
            state.session.info.setdefault(self, _Unit(self._abandoned)).wrote = True

    def _after_commit(self, session: Session) -> None:
        if session.get_nested_transaction() is None and self in session.info:
            session.info[self].settle(True)

    def _after_rollback(self, session: Session) -> None:
        if self in session.info:
            session.info[self].roll_back(_innermost(session))

    def _after_transaction_end(self, session: Session, transaction: SessionTransaction) -> None:
        if transaction.parent is None and self in session.info:
            unit = session.info.pop(self)
            self._open.pop(session, None)
            unit.settle(not unit.wrote)


def _sessions_of(subjects: Sequence[object]) -> Iterator[Session]:
    for subject in subjects:
        state = inspect(subject, raiseerr=False)
        if isinstance(state, InstanceState) and state.session is not None:
            yield state.session


def _innermost(session: Session) -> SessionTransaction | None:
    return session.get_nested_transaction() or session.get_transaction()


def _enclosing(transaction: SessionTransaction | None) -> Iterator[SessionTransaction]:
    while transaction is not None:
        yield transaction
        transaction = transaction.parent


def _alive(reference: ReferenceType[Session]) -> Session | None:
    return reference()


def _all_of(settle: Settle, count: int) -> Settle:
    """Give a vote that commits when all of ``count`` sessions have, and withdraws at the first that did not."""
    votes: list[bool] = []

    def vote(committed: bool) -> None:  # noqa: FBT001 - the port's own sense
        votes.append(committed)
        if len(votes) == count or not committed:
            settle(all(votes))

    return vote
