"""The transaction port over sessions.

A session's transaction, with the savepoints inside it, is one ``Deferred``. It lives in ``session.info``, so that a
session which is dropped without being closed takes it along, and its connection goes back to the pool.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

from sqlalchemy import event, inspect
from sqlalchemy.orm import InstanceState, ORMExecuteState, Session, SessionTransaction

from mcp_sdk import Mesh
from mcp_sdk.deferral import Begun, Deferred, Settle, unanimous
from mcp_sdk_sqlalchemy.rows import LoadedRows

__all__ = ["SessionCommits", "install"]


def install(mesh: Mesh, sessions: Any = Session) -> SessionCommits:
    """Make a mesh's transitions wait for the commits of sessions, and read rows without loading them.

    ``sessions`` narrows that to a ``Session`` subclass, a ``sessionmaker`` or one session; an ``async_sessionmaker`` is
    narrowed by the ``sync_session_class`` that it was given. The result's ``close`` ends it.
    """
    rows, port = LoadedRows(mesh.models, sessions), SessionCommits(sessions)
    mesh.on_commit(port)
    port.on_close(rows.close)
    return port


class SessionCommits:
    """Defers transitions to the outermost commit of the session that the changed objects are in.

    Without such an object it is the session that began last in this context and is still open, else in this request. A
    rollback withdraws transitions, one to a savepoint those made inside it. A session that is closed (or dropped)
    without a commit withdraws them if it wrote anything; one that only read had nothing to roll back, and publishes.
    """

    def __init__(self, sessions: Any = Session) -> None:
        self._dropped: deque[Callable[[], None]] = deque()
        self._begun: Begun[Session] = Begun(self._waits)
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
        sessions = list(filter(self._waits, dict.fromkeys(_sessions_of(subjects)) or self._begun.last()))
        vote = settle if len(sessions) < 2 else unanimous(settle, len(sessions))
        for session in sessions:
            deferred = self._deferred(session)
            deferred.wrote = deferred.wrote or bool(session.new or session.dirty or session.deleted)
            deferred.add(vote, inside=_enclosing(_innermost(session)))
        return bool(sessions)

    def _waits(self, session: Session) -> bool:
        return self in session.info and session.in_transaction()

    def _deferred(self, session: Session) -> Deferred:
        deferred: Deferred = session.info.setdefault(self, Deferred(self._dropped))
        return deferred

    def _clear_up(self) -> None:
        with suppress(IndexError):  # another thread may be at it too
            while True:
                self._dropped.popleft()()

    def _after_transaction_create(self, session: Session, transaction: SessionTransaction) -> None:
        if transaction.parent is None:
            self._clear_up()
            self._deferred(session)
            self._begun.add(session)

    def _after_flush(self, session: Session, context: object) -> None:
        del context
        if self in session.info:
            session.info[self].wrote = True

    def _do_orm_execute(self, state: ORMExecuteState) -> None:
        if not state.is_select:  # the statement that begins a transaction is announced before it has begun
            self._deferred(state.session).wrote = True

    def _after_commit(self, session: Session) -> None:
        if session.get_nested_transaction() is None and self in session.info:
            session.info[self].commit()

    def _after_rollback(self, session: Session) -> None:
        if self in session.info:
            session.info[self].roll_back(_innermost(session))

    def _after_transaction_end(self, session: Session, transaction: SessionTransaction) -> None:
        if transaction.parent is None and self in session.info:
            self._begun.discard(session)
            session.info.pop(self).close()


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
