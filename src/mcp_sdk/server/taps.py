"""Who looks on: live decisions and transitions of one scope, for those that fit a filter.

Nothing is done while nobody looks. While somebody does, the clients of the scope are told the filters, and send the
decisions that fit one, ``RATE`` a second at most.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from mcp_sdk.ports import Change
from mcp_sdk.protocol import frames
from mcp_sdk.protocol.filters import Filter
from mcp_sdk.protocol.plain import plain_applied

__all__ = ["RATE", "Onlooker", "Taps"]

MOST = 20_000
"""Characters of filters that clients are told, before they are told to send what fits any."""
RATE = 100
"""Decisions a second that one client sends."""


class Onlooker(Protocol):
    """Somebody who looks on."""

    filter: Filter

    def decision(self, record: Mapping[str, Any], who: Mapping[str, Any]) -> None:
        """Show a decision, and which client made it."""

    def transition(self, change: Change, plain: Mapping[str, Any]) -> None:
        """Show a transition with its outcome."""

    def missed(self, cursor: str) -> None:
        """Say that changes were missed."""

    def bye(self, after: float) -> None:
        """Say that the server goes."""


class Taps:
    """The onlookers of one scope; ``tell`` is given the frame for its clients whenever the filters change."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self.onlookers: set[Onlooker] = set()

    @property
    def open(self) -> bool:
        """Whether anybody looks."""
        return bool(self.onlookers)

    @property
    def frame(self) -> str:
        """The frame that tells clients what to send; empty while nobody looks."""
        return self._frame() if self.onlookers else ""

    def _frame(self) -> str:
        """Write it. Many filters become one that everything fits: each is told to every client whenever one comes."""
        filters = (onlooker.filter.to_dict() for onlooker in self.onlookers if onlooker.filter.decisions)
        wanted = {json.dumps(each, sort_keys=True): each for each in filters}
        if sum(map(len, wanted)) > MOST:
            return frames.frame("tap", filters=[Filter().to_dict()], rate=RATE)
        return frames.frame("tap", filters=list(wanted.values()), rate=RATE)

    def enter(self, onlooker: Onlooker) -> None:
        """Let somebody look on."""
        self.onlookers.add(onlooker)
        self._tell(self._frame())

    def leave(self, onlooker: Onlooker) -> None:
        """Let somebody look on no longer."""
        if onlooker in self.onlookers:
            self.onlookers.discard(onlooker)
            self._tell(self._frame())

    def decided(self, record: Mapping[str, Any], who: Mapping[str, Any]) -> None:
        """Show a decision to those whom it fits."""
        for onlooker in tuple(self.onlookers):
            if onlooker.filter.fits_decision(record):
                onlooker.decision(record, who)

    def moved(self, change: Change) -> None:
        """Show a transition to those whom it fits."""
        if change.applied is None:
            return
        plain = plain_applied(change.applied)
        for onlooker in tuple(self.onlookers):
            if onlooker.filter.fits_transition(plain):
                onlooker.transition(change, plain)

    def missed(self, cursor: str) -> None:
        """Say to everybody that changes were missed."""
        for onlooker in tuple(self.onlookers):
            onlooker.missed(cursor)
