"""How far a share may be off by chance alone."""

from __future__ import annotations

from math import exp, lgamma, log

__all__ = ["FALSE_ALARM", "bounds"]

FALSE_ALARM = 1e-7


def bounds(trials: int, share: float) -> tuple[int, int]:
    """Give the least and the greatest number of hits that ``trials`` draws of probability ``share`` may have.

    A right split falls outside with a probability of at most ``FALSE_ALARM``: the binomial tails.
    """
    weights = [_probability(hits, trials, share) for hits in range(trials + 1)]
    return _tail(weights), trials - _tail(weights[::-1])


def _probability(hits: int, trials: int, share: float) -> float:
    ways = lgamma(trials + 1) - lgamma(hits + 1) - lgamma(trials - hits + 1)
    return exp(ways + hits * log(share) + (trials - hits) * log(1 - share))


def _tail(weights: list[float]) -> int:
    total = 0.0
    for number, weight in enumerate(weights):
        total += weight
        if total > FALSE_ALARM / 2:
            return number
    return len(weights) - 1
