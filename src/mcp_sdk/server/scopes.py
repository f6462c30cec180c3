"""The scopes that a replica knows: all in which something is stored, and the last ones of those in which nothing is.

Who may look anywhere may name scopes that nobody ever used. One of these is forgotten when others were asked for since,
unless a stream holds on to it: nothing is lost by that, for it is learned anew.
"""

from __future__ import annotations

from collections import OrderedDict
from weakref import WeakValueDictionary

from mcp_sdk.context import Scope
from mcp_sdk.server.live import Live

__all__ = ["EMPTY", "Scopes"]

EMPTY = 256
"""Scopes in which nothing is stored that are kept."""


class Scopes:
    """Scopes by name. Whoever holds one finds that same one here."""

    def __init__(self, empty: int = EMPTY) -> None:
        self._most = empty
        self._known: WeakValueDictionary[Scope, Live] = WeakValueDictionary()
        self._lasting: dict[Scope, Live] = {}
        self._passing: OrderedDict[Scope, Live] = OrderedDict()

    def all(self) -> tuple[Live, ...]:
        """Give every scope that is known, those first in which something is stored."""
        return tuple(sorted(self._known.values(), key=_empty))

    def get(self, scope: Scope) -> Live | None:
        """Give a scope that is known."""
        return self._known.get(scope)

    def keep(self, live: Live) -> Live:
        """Keep a scope that somebody asked for; gives it."""
        self._known[live.scope] = live
        if live.scope not in self._lasting:
            self._passing[live.scope] = live
            self._passing.move_to_end(live.scope)
            self._settle()
        return live

    def _settle(self) -> None:
        while len(self._passing) > self._most:
            _, oldest = self._passing.popitem(last=False)
            if not _empty(oldest):
                self._lasting[oldest.scope] = oldest


def _empty(live: Live) -> bool:
    return not live.decider.snapshot.revision and not live.models and live.rollout is None
