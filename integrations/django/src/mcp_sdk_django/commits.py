"""The transaction port over ``transaction.on_commit``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connections, router, transaction
from django.db.models import Model

__all__ = ["TransactionCommits"]

Settle = Callable[[bool], None]


class TransactionCommits:
    """Defers transitions to the outermost commit of the database that the changed objects are in.

    Without such an object it is the default database, else any other, that is in an atomic block. Django drops what
    waits when it rolls back, or rolls back to a savepoint around it: then the transitions are withdrawn. As with every
    ``on_commit`` function, one that raises keeps those after it from running.
    """

    def defer(self, subjects: Sequence[object], settle: Settle) -> bool:
        """Have ``settle`` called at the end of the atomic block that the caller is in; False outside any."""
        alias = next(filter(_in_atomic_block, _databases(subjects)), None)
        if alias is None:
            return False
        transaction.on_commit(_Waiting(settle), using=alias)
        return True


class _Waiting:
    """One settlement that waits. Django says nothing at a rollback and lets go of it; its end is what is heard."""

    def __init__(self, settle: Settle) -> None:
        self._settle: Settle | None = settle

    def __call__(self) -> None:
        self._end(committed=True)

    def __del__(self) -> None:
        self._end(committed=False)

    def _end(self, *, committed: bool) -> None:
        settle, self._settle = self._settle, None
        if settle is not None:
            settle(committed)


def _databases(subjects: Sequence[object]) -> Iterator[str]:
    rows = [subject for subject in subjects if isinstance(subject, Model)]
    if rows:
        yield from dict.fromkeys(_database(row) for row in rows)
        return
    yield DEFAULT_DB_ALIAS
    yield from (alias for alias in connections if alias != DEFAULT_DB_ALIAS)


def _database(row: Any) -> str:
    alias: str = row._state.db or router.db_for_write(type(row), instance=row)  # noqa: SLF001 - documented as public
    return alias


def _in_atomic_block(alias: str) -> bool:
    return bool(connections[alias].in_atomic_block)
