"""Reading rows without loading them.

A commit expires what a session has loaded. Reading an expired attribute begins a new transaction that nobody commits,
and raises under asyncio; so what a commit is about to expire is kept with the row, and read from there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import event, inspect
from sqlalchemy.orm import InstanceState, Session

from mcp_sdk.registry import Registry

__all__ = ["LoadedRows"]


class LoadedRows:
    """Makes a registry read mapped objects from what is loaded, else from what the last commit expired."""

    def __init__(self, registry: Registry, sessions: Any = Session) -> None:
        self._registry = registry
        self._sessions = sessions
        self._kept: WeakKeyDictionary[InstanceState[Any], dict[str, Any]] = WeakKeyDictionary()
        self._otherwise: Callable[[Any, str], Any] = registry.member
        registry.member = self.member
        event.listen(sessions, "after_commit", self._keep)

    def close(self) -> None:
        """Have rows read like any object again."""
        self._registry.member = self._otherwise
        event.remove(self._sessions, "after_commit", self._keep)

    def member(self, subject: Any, name: str) -> Any:
        """Give a member of an object by name, or by a dotted path; None where it is not loaded."""
        value = subject
        for part in name.split("."):
            value = None if value is None else self._part(value, part)
        return value

    def _part(self, subject: Any, name: str) -> Any:
        state = inspect(subject, raiseerr=False)
        if not isinstance(state, InstanceState):
            return self._otherwise(subject, name)
        if name in state.dict:
            return state.dict[name]
        if name in state.mapper.attrs or state.expired_attributes:
            kept = self._kept.get(state, {})
            return kept[name] if name in kept else _identity(state, name)
        return self._otherwise(subject, name)

    def _keep(self, session: Session) -> None:
        if session.expire_on_commit and session.get_nested_transaction() is None:
            for row in session.identity_map.values():
                self._keep_row(row)

    def _keep_row(self, row: object) -> None:
        model = self._registry.of_type(type(row))
        if model is None:
            return
        visible = [spec.source or spec.name for spec in model.attributes.values() if not spec.sensitive]
        names = [model.key, model.state, *visible]
        kept = {name: self.member(row, name) for name in names}
        self._kept[inspect(row)] = {name: value for name, value in kept.items() if value is not None}


def _identity(state: InstanceState[Any], name: str) -> Any:
    """Give a column of the primary key, which a row keeps when it expires."""
    keys = [state.mapper.get_property_by_column(column).key for column in state.mapper.primary_key]
    return state.identity[keys.index(name)] if state.identity and name in keys else None
