"""Who looks on: live decisions and transitions of one scope, for those that fit a filter.

Nothing is done while nobody looks. While somebody does, here or at another replica, the clients of the scope are told
the filters, and send the decisions that fit one, ``RATE`` a second at most.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from mcp_sdk.ports import Change
from mcp_sdk.protocol import frames
from mcp_sdk.protocol.filters import Filter
from mcp_sdk.protocol.plain import plain_applied

__all__ = ["RATE", "Onlooker", "Others", "Taps"]

MOST = 20_000
"""Characters of filters that clients are told, before they are told to send what fits any."""
RATE = 100
"""Decisions a second that one client sends."""


class Onlooker(Protocol):
    """Somebody who looks on."""

    filter: Filter

    def decision(self, record: Mapping[str, Any], who: Mapping[str, Any]) -> None:
        """Show a decision, and which client made it."""

    def lost(self, count: int) -> None:
        """Say that there were more decisions than could be shown: so many since this was said last."""

    def transition(self, change: Change, plain: Mapping[str, Any]) -> None:
        """Show a transition with its outcome."""

    def missed(self, cursor: str) -> None:
        """Say that changes were missed."""

    def bye(self, after: float) -> None:
        """Say that the server goes."""


class Others(Protocol):
    """The other replicas, as one scope sees them."""

    def looked(self) -> None:
        """Hear that those who look on here, or what they look at, changed."""

    def decided(self, record: Mapping[str, Any], who: Mapping[str, Any]) -> None:
        """Show a decision to those who look on there."""

    def lost(self, count: int) -> None:
        """Hear that there were so many more decisions."""


class Taps:
    """The onlookers of one scope; ``tell`` is given the frame for its clients whenever the filters change.

    ``filters`` are of the decisions that onlookers here want, each once.
    """

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self.onlookers: set[Onlooker] = set()
        self._others: Others | None = None
        self.filters: tuple[Filter, ...] = ()
        self._wanted: tuple[Filter, ...] = ()
        self._lost = 0

    @property
    def open(self) -> bool:
        """Whether anybody looks, here or at another replica."""
        return bool(self.onlookers or self._wanted)

    @property
    def frame(self) -> str:
        """The frame that tells clients what to send; empty while nobody looks."""
        return self._frame() if self.open else ""

    def _frame(self) -> str:
        wanted = _together((*self.filters, *self._wanted))
        return frames.frame("tap", filters=[each.to_dict() for each in wanted], rate=RATE)

    def join(self, others: Others, wanted: tuple[Filter, ...]) -> None:
        """Show to other replicas what their onlookers want, and hear of their wishes from now on."""
        self._others = others
        self.want(wanted)

    def want(self, wanted: tuple[Filter, ...]) -> None:
        """Have clients told what onlookers at other replicas want."""
        if wanted != self._wanted:
            self._wanted = wanted
            self._tell(self._frame())

    def enter(self, onlooker: Onlooker) -> None:
        """Let somebody look on."""
        self.onlookers.add(onlooker)
        self._looked()

    def leave(self, onlooker: Onlooker) -> None:
        """Let somebody look on no longer."""
        if onlooker in self.onlookers:
            self.onlookers.discard(onlooker)
            self._looked()

    def _looked(self) -> None:
        self.filters = _together(onlooker.filter for onlooker in self.onlookers if onlooker.filter.decisions)
        self._tell(self._frame())
        if self._others is not None:
            self._others.looked()

    def decided(self, record: Mapping[str, Any], who: Mapping[str, Any]) -> None:
        """Show a decision that was made here to those whom it fits, at other replicas too."""
        self.show(record, who)
        if self._others is not None and any(each.fits_decision(record) for each in self._wanted):
            self._others.decided(record, who)

    def show(self, record: Mapping[str, Any], who: Mapping[str, Any]) -> None:
        """Show a decision to those here whom it fits."""
        for onlooker in tuple(self.onlookers):
            if onlooker.filter.fits_decision(record):
                onlooker.decision(record, who)

    def dropped(self, count: int) -> None:
        """Hear that a client here made so many more decisions than it sent."""
        self.lost(count)
        if self._others is not None and self._wanted:
            self._others.lost(count)

    def lost(self, count: int) -> None:
        """Count decisions that nobody here was shown."""
        self._lost += count if self.filters else 0

    def say_lost(self) -> None:
        """Say how many decisions were not shown, if any were since this was said last."""
        count, self._lost = self._lost, 0
        for onlooker in tuple(self.onlookers if count else ()):
            if onlooker.filter.decisions:
                onlooker.lost(count)

    def moved(self, change: Change) -> None:
        """Show a transition to those whom it fits."""
        if change.applied is None or not self.onlookers:
            return
        plain = plain_applied(change.applied)
        for onlooker in tuple(self.onlookers):
            if onlooker.filter.fits_transition(plain):
                onlooker.transition(change, plain)

    def missed(self, cursor: str) -> None:
        """Say to everybody that changes were missed."""
        for onlooker in tuple(self.onlookers):
            onlooker.missed(cursor)


def _together(filters: Iterable[Filter]) -> tuple[Filter, ...]:
    """Give each once. Many become one that everything fits: each is told to every client whenever one comes."""
    wanted = {json.dumps(each.to_dict(), sort_keys=True): each for each in filters}
    return (Filter(),) if sum(map(len, wanted)) > MOST else tuple(wanted.values())
