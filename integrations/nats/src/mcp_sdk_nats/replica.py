"""A copy of what the log says that keeps itself up to date, and the one way to write to the log.

A write settles against the copy, and is published on condition that the log ends where the copy does. Who loses that
compare-and-set takes in what came, and settles again.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Generic, TypeAlias, TypeVar

from mcp_sdk.exceptions import StoreError, StoreUnavailable
from mcp_sdk_nats.address import Address
from mcp_sdk_nats.connection import Connection
from mcp_sdk_nats.failures import Behind, Missing, Unanswered
from mcp_sdk_nats.messages import NOTE, TRANSITIONS, Batch, Message, Note, pack, unpack
from mcp_sdk_nats.ring import ENTRIES, Ring
from mcp_sdk_nats.streams import Raw, Streams
from mcp_sdk_nats.view import View

__all__ = ["Draft", "Replica"]

T = TypeVar("T")
Restore: TypeAlias = Callable[[Streams], Awaitable[tuple[View, int] | None]]
CATCH_UP = 5.0
CONTENTION = 20.0
PAGE = 200
LONGEST_PAUSE = 0.05
_abandoned: list[object] = []
_random = random.SystemRandom()


@dataclass(frozen=True, slots=True)
class Draft(Generic[T]):
    """What is to be published, or None where nothing is to change, and what the caller is told then."""

    message: Message | None
    result: T
    body: bytes = b""


class Replica:
    """A view of the log of ``address``, over a connection that is made when it is needed.

    ``grown`` counts the bytes that came since the last checkpoint, ``checkpointed`` those of it; ``forgotten`` are the
    notes of what was forgotten since somebody emptied it.
    """

    def __init__(
        self, address: Address, restore: Callable[[Streams], Awaitable[tuple[View, int] | None]], kept: int = ENTRIES
    ) -> None:
        self._address = address
        self._restore, self._kept = restore, kept
        self.view = View()
        self.ring = Ring(0, kept)
        self.closed = True
        self.grown = self.checkpointed = 0
        self.forgotten: list[Note] = []
        self._home: object = None
        self._connection: Connection | None = None
        self._streams: Streams | None = None
        self._offset = 0.0
        self._fault: StoreError | None = None
        self._settle_in()

    def _settle_in(self) -> None:
        self._connecting, self._writing = asyncio.Lock(), asyncio.Lock()
        self.news: set[asyncio.Event] = set()
        self._pending: tuple[int, bytes, Message] | None = None
        self._asking: asyncio.Task[None] | None = None
        self._to_ask: asyncio.Task[None] | None = None

    def now(self) -> float:
        """Give the server's seconds since the epoch, as far as this process can tell, and never before the log's."""
        return max(time.monotonic() + self._offset, self.view.at)

    async def streams(self) -> Streams:
        """Give the streams, over a new connection where the last one was lost; raises ``StoreUnavailable``."""
        if self.closed:
            raise StoreUnavailable("the NATS store is closed. Open it again, or use a plane that is not closed.")
        self._at_home()
        if self._streams is None:
            async with self._connecting:
                if self._streams is None:
                    await self._connect()
        if self._fault is not None:
            raise self._fault
        assert self._streams is not None
        return self._streams

    def _at_home(self) -> None:
        # A forked child, and another event loop, leave an inherited connection alone: its socket is the parent's too.
        home = (os.getpid(), asyncio.get_running_loop())
        if self._home != home:
            if self._home is not None:
                _abandoned.append((self._connection, self._connecting, self._writing))
            self._home, self._connection, self._streams = home, None, None
            self._settle_in()

    async def _connect(self) -> None:
        connection = Connection(self._address, lambda: self._lost(connection))
        await connection.open()
        self._connection = connection
        streams = Streams(connection, self._address)
        try:
            last = await streams.prepare()
            await self._begin(streams, last)
            self._offset = await streams.follow(self.view.sequence + 1, lambda raw: self._hear(streams, raw))
            await self._reach(last)
        except Missing:
            await self.drop()
            raise StoreUnavailable(f"the streams of {self._address.name!r} went away while they were opened.") from None
        except BaseException:
            await self.drop()
            raise
        if self._connection is not connection:
            raise StoreUnavailable(f"the connection to NATS at {self._address.hosts} was lost while it was made.")
        self._streams = streams

    async def _begin(self, streams: Streams, last: int) -> None:
        if streams.identity != self.view.identity or last < self.view.sequence:
            self.view, self._fault = View(streams.identity), None
            self.grown = self.checkpointed = 0
            if last and (restored := await self._restore(streams)):
                self.view, self.checkpointed = restored
            self.ring = Ring(self.view.sequence, self._kept)

    def _lost(self, connection: Connection) -> None:
        if self._connection is connection:
            self._connection = self._streams = None
            self.tell()

    async def drop(self, why: StoreError | None = None) -> None:
        """Give the connection up, and tell who waits for an answer ``why``; the next call makes another."""
        connection, self._connection, self._streams = self._connection, None, None
        self.tell()
        if connection is not None:
            await connection.close(why)

    def tell(self) -> None:
        """Wake everybody who waits for news."""
        for event in self.news:
            event.set()

    async def _hear(self, streams: Streams, raw: Raw) -> None:
        try:
            view = self.view
            while view.sequence + 1 < raw.sequence and view is self.view:
                gap = range(view.sequence + 1, min(raw.sequence, view.sequence + 1 + PAGE))
                for sequence, message in zip(gap, await replacements(streams, gap), strict=True):
                    self._take(sequence, message)
            if raw.sequence == view.sequence + 1 and view is self.view:
                self._take(raw.sequence, self._unpacked(raw))
                self.grown += len(raw.body)
        except (ValueError, KeyError, TypeError, IndexError) as error:
            self._fault = StoreError(
                f"message {raw.sequence} of the stream {self._address.name!r} is not one of mcp-sdk's ({error!r}). "
                "Erase it with: nats stream rmm; and let nobody else publish there."
            )
            await self.drop(self._fault)
        except StoreError:
            await self.drop()

    def _unpacked(self, raw: Raw) -> Message:
        if self._pending is not None and self._pending[:2] == (raw.sequence, raw.body):
            return self._pending[2]
        return unpack(raw.kind, raw.body)

    def _take(self, sequence: int, message: Message | None) -> None:
        if sequence != self.view.sequence + 1:
            return
        self.view.apply(sequence, message)
        self.ring.add(message)
        if isinstance(message, Note) and message.kind == "forgotten":
            self.ring.erase(message)
            self.forgotten.append(message)
        self.tell()

    async def _reach(self, sequence: int) -> None:
        news = asyncio.Event()
        self.news.add(news)
        connection = self._connection
        try:
            async with asyncio.timeout(CATCH_UP):
                while self.view.sequence < sequence:
                    if self._connection is not connection or connection is None:
                        raise self._fault or StoreUnavailable(
                            f"the connection to NATS at {self._address.hosts} was lost; it is made again when needed."
                        )
                    await news.wait()
                    news.clear()
        except TimeoutError:
            await self.drop()
            raise StoreUnavailable(f"NATS at {self._address.hosts} did not send what is in its log in time.") from None
        finally:
            self.news.discard(news)

    async def fresh(self) -> View:
        """Give the view once it holds all that was acknowledged, to anybody, before this call.

        Calls that come at the same time share one question to the server.
        """
        await self.streams()
        if self._to_ask is None:
            self._to_ask = asyncio.create_task(self._ask(self._asking))
            self._to_ask.add_done_callback(_looked_at)
        await asyncio.shield(self._to_ask)
        return self.view

    async def _ask(self, earlier: asyncio.Task[None] | None) -> None:
        if earlier is not None:
            await asyncio.wait([earlier])
        self._asking, self._to_ask = self._to_ask, None
        streams = await self.streams()
        known = self.view.sequence  # before asking: our own writes go on meanwhile
        try:
            identity, last = await streams.end()
        except Missing:
            identity, last = "", 0
        if identity != streams.identity or last < known:
            await self.drop()  # the streams were emptied, or put back: begin anew
            await self.streams()
        else:
            await self._reach(last)

    async def commit(self, make: Callable[[View, float], Draft[T]], *, fresh: bool = True) -> T:
        """Publish what ``make`` drafts from the view and the time, whoever else writes; give its result.

        ``fresh`` asks first what is in the log, so that ``make`` may also decide that nothing is to change.
        """
        async with self._writing:
            deadline = time.monotonic() + CONTENTION
            for attempt in count():
                if fresh:
                    await self.fresh()
                streams = await self.streams()
                draft = make(self.view, self.now())
                if draft.message is None:
                    return draft.result
                try:
                    await self._publish(streams, draft)
                except Behind as behind:
                    await self._lose(behind, attempt, deadline)
                else:
                    return draft.result
        raise AssertionError

    async def _publish(self, streams: Streams, draft: Draft[T]) -> None:
        message, after = draft.message, self.view.sequence
        assert message is not None
        body = draft.body or pack(message)
        self._pending = (after + 1, body, message)
        try:
            kind = TRANSITIONS if isinstance(message, Batch) else NOTE
            sequence = await self._sent(streams.publish(kind, body, after=after))
            if self.view.sequence == after:
                self._take(sequence, message)
                self.grown += len(body)
        finally:
            self._pending = None

    async def _sent(self, publishing: Awaitable[int]) -> int:
        try:
            return await publishing
        except Unanswered:  # nobody takes this identity's subjects any more: another log may be there
            await self.drop()
            raise StoreUnavailable(
                f"the log of {self._address.name!r} went away on NATS at {self._address.hosts}; it is looked for again."
            ) from None

    async def _lose(self, behind: Behind, attempt: int, deadline: float) -> None:
        if time.monotonic() > deadline:
            raise StoreUnavailable(f"others wrote to NATS at {self._address.hosts} all the time; try again.")
        if behind.last > self.view.sequence:
            await self._reach(behind.last)
        else:
            await self.fresh()
        if attempt:
            await asyncio.sleep(_random.uniform(0, min(LONGEST_PAUSE, 0.001 * 2**attempt)))

    async def message(self, sequence: int) -> Message | None:
        """Give one message of the log as it is now, or None when it was erased whole."""
        if self.ring.holds(sequence):
            return self.ring.get(sequence)
        streams = await self.streams()
        raw = await streams.get(sequence)
        return await replacement(streams, sequence) if raw is None else unpack(raw.kind, raw.body)

    async def messages(self, after: int) -> Sequence[tuple[int, Message | None]]:
        """Give the messages after a sequence, a page at most, up to the view's."""
        if after >= self.ring.floor:
            return tuple(self.ring.after(after, PAGE))
        streams, upto = await self.streams(), self.view.sequence
        found = {raw.sequence: raw for raw in await streams.page(after + 1, PAGE)}
        end = min(max(found, default=upto) if len(found) == PAGE else upto, after + PAGE)
        gaps = [sequence for sequence in range(after + 1, end + 1) if sequence not in found]
        known: dict[int, Message | None] = dict(zip(gaps, await replacements(streams, gaps), strict=True))
        known |= {sequence: unpack(raw.kind, raw.body) for sequence, raw in found.items() if sequence <= end}
        return sorted(known.items(), key=lambda item: item[0])

    async def close(self) -> None:
        """End every watch and the connection."""
        self.closed = True
        if self._home == (os.getpid(), asyncio.get_running_loop()):
            await self.drop()


def _looked_at(task: asyncio.Task[None]) -> None:
    """Look at how a shared question ended, also where all who asked are gone."""
    if not task.cancelled():
        task.exception()


async def replacement(streams: Streams, sequence: int) -> Message | None:
    """Give what is left of a message that was erased."""
    raw = await streams.look(f"r{sequence}")
    return None if raw is None or not raw.body else unpack(TRANSITIONS, raw.body)


async def replacements(streams: Streams, sequences: Sequence[int]) -> list[Message | None]:
    """Give what is left of messages, asking for all at once."""
    return list(await asyncio.gather(*(replacement(streams, sequence) for sequence in sequences)))
