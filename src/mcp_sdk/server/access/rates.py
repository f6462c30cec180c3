"""How fast one caller may ask: a token bucket for each identity and kind of work, on each replica.

Streams, transitions and everything else count separately, so that a dashboard that asks too often cannot keep services
from saying what happened.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from math import ceil, inf

from mcp_sdk.exceptions import ConfigurationError
from mcp_sdk.server.faults import Fault

__all__ = ["DEFAULTS", "Rate", "Rates", "read_rates"]

MOST = 10_000
"""Buckets that are kept; the one that was used least recently goes first, and comes back full."""


@dataclass(frozen=True, slots=True)
class Rate:
    """``per_second`` in the long run, and ``burst`` at once."""

    per_second: float
    burst: float


DEFAULTS: Mapping[str, Rate] = {
    "requests": Rate(2_000, 10_000),
    "transitions": Rate(10_000, 20_000),
    "streams": Rate(500, 10_000),
}


def read_rates(texts: Iterable[str]) -> dict[str, Rate]:
    """Read ``KIND=RATE[:BURST]``, a second; the burst is the rate unless said. Raises ``ConfigurationError``."""
    found = {}
    for text in texts:
        kind, _, said = text.partition("=")
        rate, _, burst = said.partition(":")
        try:
            found[kind] = Rate(float(rate), float(burst or rate))
        except ValueError:
            found[kind] = Rate(0, 0)
        if kind not in DEFAULTS or not (0 < found[kind].per_second < inf and 1 <= found[kind].burst < inf):
            raise ConfigurationError(f"--rate {text!r:.60}: say KIND=RATE[:BURST]; kinds: {', '.join(DEFAULTS)}")
    return found


class Rates:
    """The buckets of one replica."""

    def __init__(self, rates: Mapping[str, Rate] = DEFAULTS, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._rates = {**DEFAULTS, **rates}
        self._clock = clock
        self._buckets: OrderedDict[tuple[str, str], tuple[float, float]] = OrderedDict()

    def take(self, key: str, kind: str) -> None:
        """Count one; raises a 429 that says in how many seconds to ask again."""
        rate, now = self._rates[kind], self._clock()
        left, since = self._buckets.pop((key, kind), (rate.burst, now))
        left = min(rate.burst, left + (now - since) * rate.per_second)
        self._buckets[key, kind] = (left - 1 if left >= 1 else left, now)
        if len(self._buckets) > MOST:
            self._buckets.popitem(last=False)
        if left < 1:
            wait = ceil((1 - left) / rate.per_second)
            raise Fault(
                429,
                "too-many-requests",
                f"more than {rate.per_second:g} {kind} a second from one caller; ask again in {wait} s",
                headers=(("retry-after", str(wait)),),
            )
