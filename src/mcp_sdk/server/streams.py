"""One client's stream: what it was told, what it holds, and what waits for it.

What waits is bounded. A client that reads too slowly loses no truth by it: what is in force is kept in slots, of which
only the newest counts, and when too many changes wait they are all replaced by one ``resync``.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, TypeAlias

from mcp_sdk.context import EntityRef
from mcp_sdk.decisions import Decision, DecisionRequest
from mcp_sdk.exceptions import MeshError, ProtocolError
from mcp_sdk.ports import Cursor
from mcp_sdk.protocol.frames import MOST_ID, MOST_NAME, MOST_REFS, frame
from mcp_sdk.protocol.plain import each, plain_change, ref_from_plain
from mcp_sdk.protocol.questions import plain_answer, question_from_plain
from mcp_sdk.rollout import Counts
from mcp_sdk.server import pages
from mcp_sdk.server.faults import Fault
from mcp_sdk.server.hub import Hub
from mcp_sdk.server.live import Live
from mcp_sdk.server.settings import ServerSettings

__all__ = ["Outbox", "Stream", "listed", "names"]

MOST_MODELS = 1_000
"""Models that one stream listens to."""
MOST_COUNTED = 1_000_000
"""Decisions that one process counts between two reports; more would drown what all others counted."""
_UNNAMED: Mapping[str, str] = MappingProxyType({})
SIZE = 4 * 1024 * 1024
Decider: TypeAlias = Callable[[DecisionRequest], Awaitable[Decision]]


async def _nobody(request: DecisionRequest) -> Decision:
    raise ProtocolError(f"nobody decides here about {request.service!r}")


class Outbox:
    """Frames that wait for one reader, ``limit`` and ``SIZE`` characters at most beside the slots, or one frame."""

    __slots__ = ("_frames", "_last", "_limit", "_news", "_size", "_slots", "_taken", "ended", "overrun")

    def __init__(self, limit: int, overrun: Callable[[], str]) -> None:
        self._limit = limit
        self._frames: deque[str] = deque()
        self._size = 0
        self._slots: OrderedDict[str, str] = OrderedDict()
        self._news, self._taken = asyncio.Event(), asyncio.Event()
        self._last: str | None = None
        self.ended = False
        self.overrun = overrun

    def push(self, text: str) -> None:
        """Add a frame; where there are too many, they all give way to the one that ``overrun`` gives."""
        if len(self._frames) >= self._limit or not self._fits(len(text)):
            self._frames.clear()
            self._size, text = 0, self.overrun()
        self._frames.append(text)
        self._size += len(text)
        self._news.set()

    def _fits(self, size: int) -> bool:
        return not self._frames or self._size + size <= SIZE

    async def room(self, size: int) -> None:
        """Wait until a frame of so many characters takes no other's place: who asked for it waits meanwhile."""
        while not self._fits(size):
            self._taken.clear()
            await self._taken.wait()

    def replace(self, slot: str, text: str) -> None:
        """Put a frame into a slot, in the place of one that still waits there."""
        self._slots[slot] = text
        self._news.set()

    @property
    def ending(self) -> bool:
        """Whether a last frame waits, or was given."""
        return self._last is not None

    def end(self, text: str) -> None:
        """Send a last frame before all that waits; ``ended`` tells that it was given."""
        self._last = text
        self._news.set()

    def clear(self) -> None:
        """Let go of what waits: nobody reads it any more."""
        self._frames.clear()
        self._slots.clear()
        self._size = 0

    async def next(self) -> str:
        """Give the next frame, slots first, waiting for one."""
        while not self._slots and not self._frames and self._last is None:
            self._news.clear()
            await self._news.wait()
        if self._last is not None:
            self.ended = True
            return self._last
        if self._slots:
            return self._slots.popitem(last=False)[1]
        text = self._frames.popleft()
        self._size -= len(text)
        self._taken.set()
        return text


class Stream:
    """A stream that was greeted. ``answer`` is given each frame of the client; ``end`` when it is gone.

    ``decider`` answers the questions of thin clients; it raises ``MeshError`` and ``Fault``.
    """

    __slots__ = ("_decider", "_held", "_hub", "_listens", "_live", "_settings", "outbox", "signs", "who")

    def __init__(
        self,
        hub: Hub,
        live: Live,
        settings: ServerSettings,
        who: Mapping[str, str] = _UNNAMED,
        *,
        signs: bool = True,
        decider: Decider = _nobody,
    ) -> None:
        self.signs: bool = signs
        self._decider = decider
        self._hub, self._live, self._settings, self.who = hub, live, settings, who
        self._held: OrderedDict[EntityRef, None] = OrderedDict()
        self._listens: set[str] = set()
        self.outbox: Outbox = Outbox(settings.outbox, self._overrun)

    def _overrun(self) -> str:
        self._hub.resyncs += 1
        return frame("resync", cursor=self._hub.cursor)

    def bye(self, after: float) -> None:
        """Tell the client to go, and when to come back: in ``after`` seconds."""
        self.outbox.end(frame("bye", after=after))

    def push(self, text: str) -> None:
        """Send a frame, soon."""
        self.outbox.push(text)

    def replace(self, slot: str, text: str) -> None:
        """Send a frame, soon, in the place of one of its slot that still waits."""
        self.outbox.replace(slot, text)

    def begin(self, cursor: str, models: Iterable[str], *, thin: bool = False) -> None:
        """Tell all that is in force, and what was missed since ``cursor``; empty for one that begins."""
        self._live.greet(self, thin=thin)
        self.listen(models)
        if cursor:
            self._catch_up(Cursor(cursor))

    def _catch_up(self, cursor: Cursor) -> None:
        missed = self._hub.since(cursor)
        if missed is None:
            self.push(self._overrun())
            return
        for change in missed:
            ref = change.ref if change.applied is None else change.applied.context.ref
            model = "" if ref is None else ref.model
            if change.scope == self._live.scope and model in self._listens:
                self.push(frame("change", **plain_change(change)))

    def end(self) -> None:
        """Forget it."""
        self._live.leave(self)
        for ref in self._held:
            self._live.drop(self, ref)
        for model in self._listens:
            self._live.unlisten(self, model)
        self.outbox.clear()

    async def answer(self, said: dict[str, Any]) -> None:
        """Do what a frame of the client asks; raises ``ProtocolError`` for one that cannot be understood."""
        doing = _DOING.get(said["op"])
        if doing is not None:
            await doing(self, said)

    def listen(self, models: Iterable[str]) -> None:
        """Have every transition of some models told; raises ``ProtocolError`` for too many."""
        if len(self._listens.union(models := set(models))) > MOST_MODELS:
            raise ProtocolError(f"a stream listens to {MOST_MODELS} models at most")
        for model in models:
            self._listens.add(model)
            self._live.listen(self, model)

    async def _listen(self, said: dict[str, Any]) -> None:
        self.listen(names(said, "models"))

    async def _get(self, said: dict[str, Any]) -> None:
        refs, number = _possible(listed(said, "refs")), said.get("id")
        for ref in refs:
            self._hold(ref)
        try:
            found = await pages.found(self._hub.store, self._live.scope, refs)
        except pages.TooMuch as error:
            self.push(frame("failed", id=number, detail=str(error), fewer=True))
        except MeshError as error:
            self.push(frame("failed", id=number, detail=str(error)))
        else:
            text = f'{frame("contexts", id=number)[:-1]},"contexts":[{",".join(found)}]}}'
            await self.outbox.room(len(text))
            self.push(text)

    async def _decide(self, said: dict[str, Any]) -> None:
        number = said.get("id")
        try:
            answer = await self._decider(question_from_plain(said.get("question")))
        except (MeshError, Fault) as error:
            self.push(frame("failed", id=number, detail=str(error)))
        else:
            self.push(frame("decided", id=number, answer=plain_answer(answer)))

    async def _decision(self, said: dict[str, Any]) -> None:
        record = said.get("record")
        if isinstance(record, dict) and self._live.taps.open:
            self._live.taps.decided(record, self.who)
            dropped = said.get("dropped", 0)
            if isinstance(dropped, int) and 0 < dropped <= MOST_COUNTED:
                self._live.taps.dropped(dropped)

    async def _counted(self, said: dict[str, Any]) -> None:
        """Add what a client counted of the rollout's stage; late words of an earlier stage are passed over."""
        rollout = self._live.rollout
        if rollout is None or not self.signs:
            return
        for told in listed(said, "stages"):
            if not isinstance(told, dict):
                raise ProtocolError("a stage's counts are an object")
            if (told.get("rollout"), told.get("stage")) == (rollout.id, rollout.stage):
                counts = Counts.from_dict(told.get("counts"))
                if max(counts.decisions, counts.current_calls, counts.candidate_calls) > MOST_COUNTED:
                    raise ProtocolError(f"no process decides {MOST_COUNTED} times between two reports")
                self._live.tally.add((rollout.id, rollout.stage), counts)

    async def _drop(self, said: dict[str, Any]) -> None:
        for ref in each(ref_from_plain, listed(said, "refs")):
            if ref in self._held:
                del self._held[ref]
                self._live.drop(self, ref)

    def _hold(self, ref: EntityRef) -> None:
        self._held[ref] = None
        self._held.move_to_end(ref)
        self._live.hold(self, ref)
        if len(self._held) > self._settings.holds:
            oldest, _ = self._held.popitem(last=False)
            self._live.drop(self, oldest)
            self.push(frame("dropped", refs=[list(oldest)]))


def _possible(plain: list[Any]) -> list[EntityRef]:
    """Give the entities that there may be: of one with a longer name nobody could say anything, nor is it held."""
    refs = each(ref_from_plain, plain)
    return [ref for ref in refs if len(ref.model) <= MOST_NAME and len(ref.entity_id) <= MOST_ID]


def names(said: dict[str, Any], name: str) -> list[str]:
    """Give a list of names that a frame holds; raises ``ProtocolError``."""
    found = listed(said, name)
    if not all(isinstance(each, str) and len(each) <= MOST_NAME for each in found):
        raise ProtocolError(f"{name!r} are texts of {MOST_NAME} characters at most")
    return found


def listed(said: dict[str, Any], name: str) -> list[Any]:
    """Give a list that a frame holds, empty where it holds none; raises ``ProtocolError``."""
    found = said.get(name, [])
    if not isinstance(found, list) or len(found) > MOST_REFS:
        raise ProtocolError(f"{name!r} is a list of {MOST_REFS} at most")
    return found


_DOING: dict[str, Callable[[Stream, dict[str, Any]], Awaitable[None]]] = {
    "listen": Stream._listen,  # noqa: SLF001 - the table of what a stream does
    "get": Stream._get,  # noqa: SLF001
    "decide": Stream._decide,  # noqa: SLF001
    "drop": Stream._drop,  # noqa: SLF001
    "decision": Stream._decision,  # noqa: SLF001
    "counted": Stream._counted,  # noqa: SLF001
}
