"""Who watches a SQLite file in this process, and what this process appended to it, which nobody has to read again.

Writers commit in the order of the log's numbers. So a page of this process's own that begins right behind a watcher's
position is what comes next, whoever else writes; where it begins later, somebody else was first, and the file is read.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from mcp_sdk.context import Scope
from mcp_sdk.ports import Applied, Change, Cursor

__all__ = ["Appended", "Watcher"]

PAGES = 16
"""Pages that wait for one watcher; one that is further behind reads the file."""


@dataclass(frozen=True, slots=True)
class Appended:
    """What one append wrote: entries of the log, without gaps, up to the number ``last``."""

    last: int
    entries: Sequence[Applied]

    @property
    def first(self) -> int:
        """The number of its first entry."""
        return self.last - len(self.entries) + 1

    def changes(self, identity: str) -> list[Change]:
        """Give the entries as steps of a watch of the file ``identity``."""
        scopes: dict[tuple[str, str], Scope] = {}
        made = []
        for number, entry in enumerate(self.entries, self.first):
            named = (entry.transition.namespace, entry.transition.environment)
            scope = scopes.get(named) or scopes.setdefault(named, Scope(*named))
            made.append(Change("transition", Cursor(f"{identity}:{number}"), scope, entry))
        return made


class Watcher:
    """One watch: woken when this process writes, and brought the pages of its appends."""

    __slots__ = ("_news", "_pages")

    def __init__(self) -> None:
        self._news = asyncio.Event()
        self._pages: deque[Appended] = deque(maxlen=PAGES)

    def tell(self, page: Appended | None) -> None:
        """Wake it; ``page`` is what was appended. Anything else may have erased what waits, and has the file read."""
        if page is None:
            self._pages.clear()
        else:
            self._pages.append(page)
        self._news.set()

    def take(self, position: int) -> Appended | None:
        """Give the page that comes right after a position, or None where only the file can tell what does."""
        while self._pages:
            page = self._pages.popleft()
            if page.first == position + 1:
                return page
            if page.first > position:
                self._pages.clear()
        return None

    async def wait(self, seconds: float) -> None:
        """Wait until it is woken, or for so long; what else runs on this loop runs before."""
        await asyncio.sleep(0)
        # Not wait_for: before Python 3.12 it may swallow a cancellation that comes together with the event.
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._news.wait()
        self._news.clear()
