"""Look-ups of entities, where many callers who miss one entity ask for it once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, TypeAlias

from mcp_sdk.context import EntityRef, ModelContext
from mcp_sdk.control.loop import CLOSED
from mcp_sdk.exceptions import StoreUnavailable

__all__ = ["Fetcher", "Lookup"]

Lookup: TypeAlias = Callable[[Sequence[EntityRef]], Awaitable[Mapping[EntityRef, ModelContext]]]
Found: TypeAlias = Mapping[EntityRef, ModelContext]


class Fetcher:
    """Gathers what is asked for in one turn of the event loop into one ``lookup``, and lets later askers join it.

    Runs on the loop's thread.
    """

    def __init__(self, lookup: Lookup) -> None:
        self._lookup = lookup
        self._flying: dict[EntityRef, asyncio.Future[Found]] = {}
        self._wanted: list[EntityRef] = []
        self._turn: asyncio.Future[Found] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def want(self, refs: Sequence[EntityRef], answer: Future[Found]) -> None:
        """Have ``answer`` get the contexts of ``refs`` that exist, or what made the look-up fail as its exception."""
        if answer.set_running_or_notify_cancel():
            self._run(self._answer(refs, answer))

    def refresh(self, ref: EntityRef) -> None:
        """Look an entity up for the sake of what ``lookup`` does with it; failing does no harm."""
        self._ask(ref)

    async def get(self, refs: Sequence[EntityRef]) -> dict[EntityRef, ModelContext]:
        """Give the contexts of ``refs``."""
        waiting = {id(future): future for future in map(self._ask, refs)}
        found: dict[EntityRef, ModelContext] = {}
        for future in waiting.values():
            found.update(await asyncio.shield(future))
        return {ref: found[ref] for ref in refs if ref in found}

    def _ask(self, ref: EntityRef) -> asyncio.Future[Found]:
        flying = self._flying.get(ref)
        if flying is not None:
            return flying
        if self._turn is None:
            loop = asyncio.get_running_loop()
            self._turn = loop.create_future()
            loop.call_soon(self._depart)
        self._wanted.append(ref)
        self._flying[ref] = self._turn
        return self._turn

    def _depart(self) -> None:
        turn, wanted = self._turn, self._wanted
        self._turn, self._wanted = None, []
        if turn is not None:
            self._run(self._fly(turn, wanted))

    async def _fly(self, turn: asyncio.Future[Found], wanted: Sequence[EntityRef]) -> None:
        try:
            found = await self._lookup(wanted)
        except BaseException as error:  # noqa: BLE001  whoever waits must hear of it, cancellation included
            turn.set_exception(error if isinstance(error, Exception) else StoreUnavailable(CLOSED))
            turn.exception()
        else:
            turn.set_result(found)
        finally:
            for ref in wanted:
                self._flying.pop(ref, None)

    async def _answer(self, refs: Sequence[EntityRef], answer: Future[Found]) -> None:
        try:
            answer.set_result(await self.get(refs))
        except BaseException as error:  # noqa: BLE001  the caller must not wait for ever
            answer.set_exception(error if isinstance(error, Exception) else StoreUnavailable(CLOSED))

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
