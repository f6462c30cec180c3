"""Streams of server-sent events: what is in force, who decides what, and the audit log."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Annotated, Any, Literal

from fastapi import Query
from fastapi.responses import StreamingResponse
from pydantic import Field

from mcp_sdk.ports import Change, Cursor
from mcp_sdk.protocol.filters import Filter
from mcp_sdk.protocol.manifests import digest
from mcp_sdk.protocol.plain import loads, plain_applied
from mcp_sdk.server import bodies
from mcp_sdk.server.access.callers import Permission
from mcp_sdk.server.desk import Asker, At, Desk, Here
from mcp_sdk.server.faults import Fault
from mcp_sdk.server.feeds import HEARTBEAT, SSE, After, Feed, event
from mcp_sdk.server.live import Live

__all__ = ["router"]

router = bodies.router("/v1", tags=["streams"])
PAGE = 500


@router.get("/snapshots/stream", response_class=StreamingResponse, responses=SSE)
async def stream_snapshots(desk: Here, caller: Asker, scope: At, after: After) -> StreamingResponse:
    """Stream the signed manifest of what is in force: the newest at once, then each that takes its place."""
    caller.require(Permission.READ, scope)
    return _Snapshots(desk, await desk.live(scope), after).open(caller, Permission.READ, scope=scope)


class _Snapshots(Feed):
    """A reader of one scope's manifests. Only the newest waits."""

    def __init__(self, desk: Desk, live: Live, after: str) -> None:
        super().__init__(desk)
        self._live, self._after = live, after

    def enter(self) -> None:
        super().enter()
        self._live.greet(self)

    def leave(self) -> None:
        super().leave()
        self._live.leave(self)

    def push(self, text: str) -> None:
        """Pass over what is not a manifest."""

    def replace(self, slot: str, text: str) -> None:
        """Show a manifest; pass over the rest."""
        envelope = self._live.envelope
        if slot != "manifest" or envelope is None:
            return
        snapshot = self._live.decider.snapshot
        number = f"{snapshot.epoch}.{snapshot.revision}.{digest(envelope.text.encode())[:12]}"
        if number != self._after:
            said = loads(text)
            self.outbox.replace(
                slot, event("manifest", {"envelope": said["envelope"], "key": said["key"]}, number=number)
            )


@router.get("/tap", response_class=StreamingResponse, responses=SSE)
async def tap(  # noqa: PLR0913, PLR0917 - query parameters
    desk: Here,
    caller: Asker,
    scope: At,
    after: After,
    conditions: Annotated[
        list[Annotated[str, Field(max_length=1000)]],
        Query(alias="filter", max_length=20, description="model.attribute=value; all have to hold"),
    ] = [],  # noqa: B006 - FastAPI copies it
    service: Annotated[str, Query(max_length=200, description="who decides, or says what happened")] = "",
    verdict: Annotated[Literal["", "permit", "deny", "step_up", "review", "throttle", "shed"], Query()] = "",
    kind: Annotated[Literal["all", "decisions", "transitions"], Query()] = "all",
) -> StreamingResponse:
    """Stream live decisions and transitions that fit; transitions have ids to resume from, decisions have none."""
    caller.require(Permission.TAP, scope, service)
    wanted = Filter.parse(
        conditions,
        service=service,
        verdict=verdict,
        decisions=kind != "transitions",
        transitions=kind != "decisions",
    )
    return _Tap(desk, await desk.live(scope), wanted, after).open(caller, Permission.TAP, scope=scope, target=service)


class _Tap(Feed):
    """Somebody who looks on."""

    def __init__(self, desk: Desk, live: Live, wanted: Filter, after: str) -> None:
        super().__init__(desk)
        self._hub, self._live, self._after, self.filter = desk.hub, live, after, wanted
        self._lost = 0

    def enter(self) -> None:
        super().enter()
        self._live.taps.enter(self)
        if self._after and self.filter.transitions:
            self._catch_up()

    def leave(self) -> None:
        super().leave()
        self._live.taps.leave(self)

    def _catch_up(self) -> None:
        missed = self._hub.since(Cursor(self._after))
        if missed is None:
            self.outbox.push(self._overrun())
        for change in missed or ():
            plain = plain_applied(change.applied) if change.applied is not None else None
            if plain and change.scope == self._live.scope and self.filter.fits_transition(plain):
                self.transition(change, plain)

    def decision(self, record: Mapping[str, Any], who: Mapping[str, Any]) -> None:
        """Show a decision."""
        self.outbox.push(event("decision", {"record": record, "by": who}))

    def lost(self, count: int) -> None:
        """Say how many decisions there were since this began that could not be shown."""
        self._lost += count
        self.outbox.replace("missed", event("missed", {"decisions": self._lost}))

    def transition(self, change: Change, plain: Mapping[str, Any]) -> None:
        """Show a transition."""
        self.outbox.push(event("transition", plain, number=change.cursor))

    def missed(self, cursor: str) -> None:
        """Say that changes were missed."""
        del cursor
        self.outbox.push(self._overrun())


@router.get("/audit/stream", response_class=StreamingResponse, responses=SSE)
async def stream_audit(desk: Here, caller: Asker, after: After) -> StreamingResponse:
    """Stream the audit log after a number (0: from the beginning), then every entry as it is made."""
    caller.require(Permission.AUDIT)
    if after and not (after.isdecimal() and after.isascii() and len(after) < 16):
        raise Fault(400, "malformed", f"the audit log is resumed after a number, not {after[:40]!r}")
    return _Audit(desk, int(after or 0)).open(caller, Permission.AUDIT)


class _Audit(Feed):
    """A reader of the audit log: it reads on when it has sent, so that nothing waits here."""

    def __init__(self, desk: Desk, after: int) -> None:
        super().__init__(desk)
        self._hub, self._store, self._at = desk.hub, desk.store, after
        self._news = asyncio.Event()

    def enter(self) -> None:
        super().enter()
        self._hub.taps.add(self._hear)

    def leave(self) -> None:
        super().leave()
        self._hub.taps.discard(self._hear)

    def _hear(self, change: Change) -> None:
        if change.kind in ("audit", "resync"):
            self._news.set()

    def bye(self, after: float) -> None:
        super().bye(after)
        self._news.set()

    async def texts(self) -> AsyncIterator[str]:
        yield ": welcome\n\n"
        while not self.outbox.ending:
            self._news.clear()
            entries = await self._store.audit(after=self._at, limit=PAGE)
            for entry in entries:
                self._at += 1
                yield event("entry", entry, number=str(self._at))
            if not entries:
                yield await self._wait()
        yield await self.outbox.next()

    async def _wait(self) -> str:
        try:
            async with asyncio.timeout(HEARTBEAT):
                await self._news.wait()
        except TimeoutError:
            return ": still here\n\n"
        return ""
