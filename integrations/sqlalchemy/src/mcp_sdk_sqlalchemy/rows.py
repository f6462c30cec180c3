"""Reading rows without loading them.

A commit expires what a session has loaded. Reading an expired attribute begins a new transaction that nobody commits,
and raises under asyncio; so what a commit is about to expire is kept with the row, and read from there.
"""

from __future__ import annotations

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
        self._end = registry.look_first(self._look)
        event.listen(sessions, "after_commit", self._keep)

    def close(self) -> None:
        """Have rows read like any object again."""
        self._end()
        event.remove(self._sessions, "after_commit", self._keep)

    def _look(self, subject: Any, name: str) -> Any:
        state = inspect(subject, raiseerr=False)
        if not isinstance(state, InstanceState):
            return NotImplemented
        if name in state.dict:
            return state.dict[name]
        if name in state.mapper.attrs or state.expired_attributes:
            kept = self._kept.get(state, {})
            return kept[name] if name in kept else _identity(state, name)
        return NotImplemented

    def _keep(self, session: Session) -> None:
        if session.expire_on_commit and session.get_nested_transaction() is None:
            for row in session.identity_map.values():
                self._keep_row(row)

    def _keep_row(self, row: object) -> None:
        model = self._registry.of_type(type(row))
        if model is not None:
            reader = self._registry.reader(model, type(row))
            held = zip(reader.names, reader.raw(row), strict=True)
            self._kept[inspect(row)] = {name: value for name, value in held if value is not None}


def _identity(state: InstanceState[Any], name: str) -> Any:
    """Give a column of the primary key, which a row keeps when it expires."""
    keys = [state.mapper.get_property_by_column(column).key for column in state.mapper.primary_key]
    return state.identity[keys.index(name)] if state.identity and name in keys else None
