"""What a handle wrote itself, kept for its own watches until they come by: they need not read it back.

A store's log gives each change a position. Whoever wrote a run of changes knows the position before the first of them,
by what the store itself told in that transaction. A watch that stands there takes the run as it was written; where
another handle's changes come between, it reads those. Nothing is kept for whom nobody waits, nothing for longer than a
watch takes to pass it, and what a watch is too slow for it reads, as it would without this.
"""

from __future__ import annotations

import asyncio
from bisect import insort
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Generic, TypeAlias, TypeVar

from mcp_sdk.context import Scope
from mcp_sdk.ports import Applied, Change, Cursor

__all__ = ["MOST", "PATIENCE", "Echo", "Echoes", "numbered"]

MOST = 16 * 2**20
"""Bytes that are kept for one watch, about."""
EACH = 1_000
"""Bytes of a change beside what its size tells, about."""
PATIENCE = 0.1
"""Seconds that a watch waits for writes that are under way, before it reads."""

P = TypeVar("P", bound=Any)
Tell: TypeAlias = Callable[[P, int, Callable[[], Sequence[Change]]], None]


@dataclass(order=True, slots=True)
class _Run(Generic[P]):
    before: P
    changes: Sequence[Change] = field(compare=False)
    size: int = field(compare=False)


def numbered(origin: str, before: int, entries: Sequence[Applied]) -> list[Change]:
    """Give what watchers hear of entries that follow a number without gaps, where a cursor is ``origin:number``."""
    scopes: dict[tuple[str, str], Scope] = {}
    made = []
    for number, entry in enumerate(entries, before + 1):
        named = (entry.transition.namespace, entry.transition.environment)
        scope = scopes.get(named) or scopes.setdefault(named, Scope(*named))
        made.append(Change("transition", Cursor(f"{origin}:{number}"), scope, entry))
    return made


class Echoes(Generic[P]):
    """The echoes of one handle on one event loop. ``P`` orders the positions of the store's log.

    ``ended`` wakes whoever waits for it whenever a write ends.
    """

    def __init__(self) -> None:
        self._watches: set[Echo[P]] = set()
        self._writing = self._cleared = 0
        self.ended = asyncio.Event()

    def join(self) -> Echo[P]:
        """Give the echo of a watch that begins."""
        echo = Echo(self)
        self._watches.add(echo)
        return echo

    def leave(self, echo: Echo[P]) -> None:
        """Keep nothing for it any more."""
        self._watches.discard(echo)

    @property
    def wanted(self) -> bool:
        """Whether anybody watches."""
        return bool(self._watches)

    @property
    def busy(self) -> bool:
        """Whether a write is under way."""
        return self._writing > 0

    @contextmanager
    def writing(self) -> Iterator[Tell[P]]:
        """Be writing during the block; gives what is called where that succeeded.

        It is told the position before the first change, the size of what they hold, in bytes, about, and what makes
        the changes: those that now stand in the log, next to each other. They are kept, and who watches is woken.
        """
        began = self._cleared

        def tell(before: P, size: int, changes: Callable[[], Sequence[Change]]) -> None:
            if began == self._cleared:
                self._keep(before, size, changes)
            else:  # what was erased meanwhile may be of them: it is to be read
                self.wake()

        self._writing += 1
        try:
            yield tell
        finally:
            self._writing -= 1
            self.ended.set()
            self.ended.clear()

    def _keep(self, before: P, size: int, changes: Callable[[], Sequence[Change]]) -> None:
        if self._watches:
            made = changes()
            run = _Run(before, made, size + EACH * len(made))
            for echo in self._watches:
                echo.keep(run)

    @contextmanager
    def erasing(self) -> Iterator[None]:
        """Be erasing during the block; however that ends, nothing is kept of what was written until then."""
        try:
            yield
        finally:
            self.clear()

    def wake(self) -> None:
        """Have every watch look."""
        for echo in self._watches:
            echo.wake()

    def clear(self) -> None:
        """Keep nothing of what was written until now, or is being written; wake who watches."""
        self._cleared += 1
        for echo in self._watches:
            echo.clear()


class Echo(Generic[P]):
    """What is kept for one watch."""

    def __init__(self, echoes: Echoes[P]) -> None:
        self._echoes = echoes
        self._runs: list[_Run[P]] = []
        self._size = 0
        self._news = asyncio.Event()

    def keep(self, run: _Run[P]) -> None:
        """Keep a run; nothing at all where that is too much, for then the watch has fallen behind and reads."""
        insort(self._runs, run)
        self._size += run.size
        if self._size > MOST:
            self.clear()
        self.wake()

    def clear(self) -> None:
        """Keep nothing of what there was, and wake the watch."""
        self._runs.clear()
        self._size = 0
        self.wake()

    def wake(self) -> None:
        """Have the watch look, which waits or is about to."""
        self._news.set()

    async def following(self, position: P) -> Sequence[Change]:
        """Give what was written next to a position, waiting a while for what is being written; or nothing.

        What stands before the position is kept no longer.
        """
        found = self.take(position)
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                while not found and self.limit is None and self._echoes.busy:
                    await self._echoes.ended.wait()
                    found = self.take(position)
        return found

    def take(self, position: P) -> Sequence[Change]:
        """Give what was written next to a position, without waiting."""
        while self._runs and self._runs[0].before <= position:
            run = self._runs.pop(0)
            self._size -= run.size
            if run.before == position:
                return run.changes
        return ()

    @property
    def limit(self) -> P | None:
        """The position up to which others wrote, and what follows is kept; None where nothing is."""
        return self._runs[0].before if self._runs else None

    async def wait(self, seconds: float) -> None:
        """Wait until it is woken, or for so long; what else runs on this loop runs before."""
        await asyncio.sleep(0)
        # Not wait_for: before Python 3.12 it may swallow a cancellation that comes together with the event.
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._news.wait()
        self._news.clear()
