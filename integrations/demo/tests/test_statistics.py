from __future__ import annotations

import random

import pytest
from mcp_sdk_demo.statistics import FALSE_ALARM, bounds


@pytest.mark.parametrize(("trials", "share"), [(60, 0.3), (140, 0.8), (300, 0.3)])
def test_a_right_split_passes_and_a_swapped_one_does_not(trials, share):
    """The mean lies inside, and the mean of the swapped weights outside, by more than five standard deviations."""
    low, high = bounds(trials, share)
    assert low < trials * share < high
    assert not low <= trials * (1 - share) <= high
    assert FALSE_ALARM < 1e-6


def test_bounds_are_the_tails_of_the_binomial():
    """Of many right splits with a false alarm of one in ten million, none falls outside."""
    low, high = bounds(100, 0.2)
    rng = random.Random(7)
    hits = [sum(rng.random() < 0.2 for _ in range(100)) for _ in range(3000)]
    assert low <= min(hits)
    assert max(hits) <= high
    assert (low, high) == (2, 43)
