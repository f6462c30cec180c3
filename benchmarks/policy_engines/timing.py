"""Clocks: two functions that take turns over the same calls, and single calls for the tail.

Times are processor time of this thread, which leaves out what other processes took; only what a call waits for while a
reload runs beside it is by the wall clock. The garbage collector runs as it does in a service. What a loop that calls
nothing costs is taken off each block, and what the clock itself costs off each single call.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Pair", "Side", "once_us", "paired", "tail_us", "while_reloading"]

Find = Callable[[Any], Any]
Clock = Callable[[], int]
ROUNDS, TAIL_CALLS, TAIL_TURNS = 60, 4000, 5


@dataclass(frozen=True)
class Side:
    """A function and its calls; one list of calls for each that takes turns, the same in the same order."""

    find: Find
    inputs: Sequence[Any]


@dataclass(frozen=True)
class Pair:
    """Microseconds a call of two sides that took turns, and the median of the rounds' ratios."""

    ours_us: float
    floor_us: float
    ratio: float


def paired(ours: Side, floor: Side, *, budget_s: float, rounds: int = ROUNDS) -> Pair:
    """Time both sides in turn, block by block, each round in the other order."""
    took, ends = [], time.perf_counter() + budget_s
    for turn in range(rounds):
        pair = (ours, floor) if turn % 2 else (floor, ours)
        times = {id(side): _block(side) for side in pair}
        took.append((times[id(ours)], times[id(floor)]))
        if time.perf_counter() > ends:
            break
    kept = took[1:] or took  # the first round warms both up
    return Pair(
        statistics.median(each for each, _ in kept) / 1e3,
        statistics.median(each for _, each in kept) / 1e3,
        statistics.median(mine / theirs for mine, theirs in kept),
    )


def _block(side: Side) -> float:
    """Give nanoseconds a call, less the bare loop's."""
    clock, find, inputs = time.thread_time_ns, side.find, side.inputs
    began = clock()
    for given in inputs:
        find(given)
    took = clock() - began
    began = clock()
    for _ in inputs:
        pass
    return max(took - (clock() - began), 1) / len(inputs)


def once_us(side: Side) -> float:
    """Give microseconds a call of one block."""
    return _block(side) / 1e3


def tail_us(side: Side, *, budget_s: float) -> float | None:
    """Give the 99th percentile of single calls: the median of several turns'. None where too few fit the budget."""
    ends, found = time.perf_counter() + budget_s, []
    for _ in range(TAIL_TURNS):
        times = _singles(side, ends)
        if len(times) >= 100:
            found.append(_p99(times, time.thread_time_ns))
        if time.perf_counter() > ends:
            break
    return statistics.median(found) if found else None


def _singles(side: Side, ends: float) -> list[int]:
    clock, find, inputs, times = time.thread_time_ns, side.find, side.inputs, []
    for turn in range(max(1, TAIL_CALLS // len(inputs))):
        for given in inputs:
            began = clock()
            find(given)
            times.append(clock() - began)
        if turn and time.perf_counter() > ends:
            break
    return times


def _p99(times: list[int], clock: Clock) -> float:
    own = statistics.median(-clock() + clock() for _ in range(1000))
    return max(sorted(times)[len(times) * 99 // 100] - own, 0) / 1e3


def while_reloading(held: list[Side], reload: Callable[[], Side], *, least_s: float, budget_s: float) -> dict[str, Any]:
    """Time single calls while a thread loads one revision after the other and swaps it in as ``held[0]``.

    Goes on for ``least_s`` seconds and until one revision is in, but no longer than the budget.
    """
    done, loads, broken = threading.Event(), [], []

    def keep_loading() -> None:
        while not done.is_set():
            try:
                held[0] = reload()
            except Exception as error:  # noqa: BLE001 - said in the table
                broken.append(error)
                return
            loads.append(time.perf_counter())

    thread = threading.Thread(target=keep_loading, daemon=True)
    began = time.perf_counter()
    thread.start()
    times = _single_calls(held, lambda now: now - began > least_s and loads, began + budget_s)
    done.set()
    thread.join()
    if broken:
        raise broken[0]
    if not loads or len(times) < 100:
        return {}
    return {
        "reload_p99_us": _p99(times, time.perf_counter_ns),
        "reload_max_ms": max(times) / 1e6,
        "reloads": len(loads),
    }


def _single_calls(held: list[Side], enough: Callable[[float], Any], ends: float) -> list[int]:
    clock, times = time.perf_counter_ns, []
    while True:
        for number in range(len(held[0].inputs)):
            side = held[0]
            given = side.inputs[number]
            began = clock()
            side.find(given)
            times.append(clock() - began)
            if number % 50 == 0 and (enough(time.perf_counter()) or time.perf_counter() > ends):
                return times
