"""Cases of ``StoreSuite``: clocks that jump, those of the machines that write, and that of the server between them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, aclosing
from datetime import UTC, datetime
from pathlib import Path

from mcp_sdk.exceptions import MissingExtra
from mcp_sdk.ports import Change, SigningKey, Store
from mcp_sdk.services import Endpoint
from mcp_sdk.testing._scenarios import APPLIED, DUPLICATE, PATIENCE, SCOPE, Cases, collect, move, statuses, watching

try:
    import pytest
except ModuleNotFoundError as missing:
    raise MissingExtra("pytest", extra="testing", purpose="StoreSuite") from missing

__all__ = ["ClockCases"]

HOUR = 3600.0


class ClockCases(Cases):
    """Clocks of machines and of servers that are hours apart, and jump."""

    def test_clocks_may_jump(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Machines whose clocks are hours apart, and jump, leave no gap, apply nothing twice, and miss nothing.

        Of a store that goes by another clock than theirs leases last, and what changed just now is retained.
        """
        asyncio.run(_among_machines(self, tmp_path, _Machines(monkeypatch)))

    def test_the_clock_of_the_server_may_jump(self, tmp_path: Path) -> None:
        """It goes back an hour, on by more than a day, and right again: no gap, nothing twice, nothing missed.

        A lease ends by that clock alone; an event id is known for a day of it.
        """
        if not self.connected:
            pytest.skip("this store has no server, and test_clocks_may_jump moves the clocks that it goes by")
        moved = self.server_clock(tmp_path)
        if moved is None:
            pytest.skip("this suite has no server_clock: what a jump of its server's clock does is not tested")
        with moved as put:
            asyncio.run(_by_a_server(self, tmp_path, put))


class _Machines:
    """Two machines' clocks; that of this process is the late one's, for what does not ask the one that it was given."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch
        self.true = time.time
        self.asked = False
        self.put(early=-2 * HOUR, late=2 * HOUR)

    def begin(self) -> None:
        """Set this process's clock: once stores are open, for what they import would keep it."""
        self._monkeypatch.setattr(time, "time", lambda: self.true() + self._late)

    def put(self, *, early: float, late: float) -> None:
        """Have the clocks jump to so many seconds ahead of the true time."""
        self._early, self._late = early, late

    def early(self) -> float:
        """Give the time of the one machine."""
        self.asked = True
        return self.true() + self._early

    def late(self) -> float:
        """Give the time of the other."""
        self.asked = True
        return self.true() + self._late


async def _opened(stack: AsyncExitStack, store: Store) -> Store:
    await store.open()
    stack.push_async_callback(store.close)
    return store


async def _among_machines(suite: Cases, place: Path, clocks: _Machines) -> None:
    async with AsyncExitStack() as stack, asyncio.timeout(60):
        early = await _opened(stack, suite.store(place, clock=clocks.early))
        late = await _opened(stack, suite.store(place, clock=clocks.late))
        clocks.begin()
        before, after = (Endpoint("shop", f"http://127.0.0.1:{port}") for port in (1, 2))
        await late.register(SCOPE, before, ttl=60)
        await _jump(early, late, clocks)
        await late.register(SCOPE, after, ttl=60)
        if not clocks.asked:
            just_now = datetime.fromtimestamp(clocks.true() - HOUR / 4, UTC)
            assert await early.endpoints(SCOPE) == await late.endpoints(SCOPE) == (before, after)
            assert await late.retain(SCOPE, "order", just_now) == 0


async def _jump(early: Store, late: Store, clocks: _Machines) -> None:
    cursor = await early.cursor()
    moves = [move() for _ in range(12)]
    for number, sent in enumerate(moves):
        handle = early if number % 2 else late
        assert (await handle.append([sent]))[0].revision == number + 1
        if number == 5:
            clocks.put(early=3 * HOUR, late=-HOUR)
    await late.put_key(SCOPE, SigningKey("k", bytes(16)))
    assert statuses(await early.append(moves)) == [DUPLICATE] * 12
    assert statuses(await late.append(moves)) == [DUPLICATE] * 12
    for handle in (early, late):
        changes = await collect(handle, cursor, 13)
        heard = [change.applied.transition.event_id for change in changes if change.applied]
        assert heard == [sent.event_id for sent in moves]
        assert changes[-1].kind == "keys"


async def _by_a_server(suite: Cases, place: Path, put: Callable[[float], None]) -> None:
    async with AsyncExitStack() as stack, asyncio.timeout(60):
        store, other = [await _opened(stack, suite.store(place)) for _ in range(2)]
        changes = await stack.enter_async_context(aclosing(watching(other, await other.cursor())))
        known: list[str] = []
        for step, ahead in enumerate((0.0, -HOUR, 25 * HOUR, 0.0)):
            put(ahead)
            if ahead > 24 * HOUR:
                assert await other.endpoints(SCOPE) == ()
                known.clear()
            known += await _changed(store, other, step)
            await _known_and_heard(other, changes, known)
            await _leased(store, other, f"http://127.0.0.1:{step + 1}")


async def _changed(store: Store, other: Store, step: int) -> list[str]:
    """Move an entity four times, each on the revision before; give the event ids."""
    sent = [move(base_revision=4 * step + number) for number in range(4)]
    for number, transition in enumerate(sent):
        (result,) = await (other if number % 2 else store).append([transition])
        assert (result.status, result.revision) == (APPLIED, 4 * step + number + 1)
    return [transition.event_id for transition in sent]


async def _known_and_heard(store: Store, changes: AsyncGenerator[Change, None], known: list[str]) -> None:
    again = await store.append([move(event_id=event_id) for event_id in known])
    assert statuses(again) == [DUPLICATE] * len(known)
    heard: list[str] = []
    async with asyncio.timeout(PATIENCE):
        while len(heard) < 4:
            change = await anext(changes)
            assert change.kind in ("transition", "services")
            heard += [change.applied.transition.event_id] if change.applied else []
    assert heard == known[-4:]


async def _leased(store: Store, other: Store, url: str) -> None:
    """Announce an endpoint; the other handle sees it last."""
    await store.register(SCOPE, Endpoint("shop", url), ttl=60)
    assert (await other.endpoints(SCOPE))[-1].url == url
