"""Transactions that transitions wait for, and rows that are read without querying."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from django.core.exceptions import FieldDoesNotExist
from django.db import DEFAULT_DB_ALIAS, connections, router, transaction
from django.db.models import Model

from mcp_sdk.deferral import Settle, hook

__all__ = ["TransactionCommits", "look"]


class TransactionCommits:
    """Defers transitions to the outermost commit of the database that the changed objects are in.

    Without such an object it is the default database, else any other, that is in an atomic block. Django drops what
    waits when it rolls back, or rolls back to a savepoint around it: then the transitions are withdrawn. As with every
    ``on_commit`` function, one that raises keeps those after it from running.
    """

    def defer(self, subjects: Sequence[object], settle: Settle) -> bool:
        """Have ``settle`` called at the end of the atomic block that the caller is in; False outside any."""
        alias = next((alias for alias in _databases(subjects) if connections[alias].in_atomic_block), None)
        if alias is None:
            return False
        transaction.on_commit(hook(settle), using=alias)
        return True


def _databases(subjects: Sequence[object]) -> Iterable[str]:
    rows: list[Any] = [subject for subject in subjects if isinstance(subject, Model)]
    if rows:
        return [row._state.db or router.db_for_write(type(row), instance=row) for row in rows]  # noqa: SLF001 - public
    return [DEFAULT_DB_ALIAS, *connections]


def look(subject: Any, name: str) -> Any:
    """Read a member of a model from what is loaded: a deferred field or an unfetched relation is not there (None)."""
    if not isinstance(subject, Model):
        return NotImplemented
    if name in subject.get_deferred_fields():
        return None
    try:
        field = subject._meta.get_field(name)  # noqa: SLF001 - documented as public
    except FieldDoesNotExist:
        return NotImplemented
    return NotImplemented if not field.is_relation or field.is_cached(subject) else None
