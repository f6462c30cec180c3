"""Storing what the requests of one replica bring: together, where several come while the store is at work."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from mcp_sdk.context import Transition
from mcp_sdk.ports import AppendResult, Store
from mcp_sdk.stores.gathering import Answer, Call, Gathering

__all__ = ["ABREAST", "Appender"]

ABREAST = 2
"""Calls of the store at a time: one that is being written, and one that is being made ready."""


class Appender:
    """Appends to a store for the requests of one replica, on its event loop."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._gathering = Gathering(self._together, abreast=ABREAST)

    async def append(self, transitions: Sequence[Transition]) -> tuple[AppendResult, ...]:
        """Give one result a transition, once they are durable; raises what ``Store.append`` does.

        Transitions with a ``batch_id`` are stored by themselves, at once: another request might use the same.
        """
        if any(one.batch_id for one in transitions):
            return await self._store.append(transitions)
        return await self._gathering.append(transitions)

    async def _together(self, calls: Sequence[Call]) -> list[Answer]:
        results = iter(await self._store.append([one for call in calls for one in call]))
        return [tuple(islice(results, len(call))) for call in calls]
