"""One cell of the table, measured in a process of its own: one engine, one shape, one size.

    python -m policy_engines.child '{"engine": "ours", "shape": "eq", "n": 10, "work": "measure", …}'

``work`` is ``write`` (the rules in the engine's language, and once more with one rule changed), ``load`` or
``measure``. The answer is a JSON object on standard output.
"""

from __future__ import annotations

import copy
import dataclasses
import gc
import json
import resource
import statistics
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from policy_engines.entrant import Entrant, NotExpressible
from policy_engines.floor import Floor
from policy_engines.registry import entrant
from policy_engines.rules import Call, calls, changed, first_match, rules
from policy_engines.timing import Pair, Side, once_us, paired, tail_us, while_reloading

__all__ = ["Job", "WrongAnswer"]

CALLS, SAMPLE, TRUTH = 1000, 200, 1_000_000


class WrongAnswer(Exception):
    """The engine gave another rule than the data says, so that its times mean nothing."""


@dataclasses.dataclass(frozen=True)
class Job:
    """What to measure. ``folder`` holds the written rules; ``budget_s`` bounds each measurement."""

    work: str
    engine: str
    shape: str
    n: int
    folder: str
    budget_s: float = 20.0
    quick: bool = False

    @property
    def texts(self) -> tuple[Path, Path]:
        """Where the rules are, and the rules with one changed."""
        return Path(self.folder, "rules.txt"), Path(self.folder, "changed.txt")


def write(job: Job) -> dict[str, Any]:
    """Write both rule sets in the engine's language."""
    rule_set, engine = rules(job.shape, job.n), entrant(job.engine)
    for path, version in zip(job.texts, (rule_set, changed(rule_set)), strict=True):
        path.write_text(engine.source(version))
    return {"bytes": job.texts[0].stat().st_size}


def load(job: Job) -> dict[str, Any]:
    """Load and decide once, in processor time; nothing else is in this process."""
    engine, call = entrant(job.engine), calls(job.shape, job.n, hit=True, size=1)[0]
    gc.collect()
    before, began = _resident_mb(), time.process_time()
    engine.load(job.texts[0].read_text())
    seconds, given = time.process_time() - began, engine.input(call)
    began = time.process_time()
    engine.find(given)
    seconds += time.process_time() - began
    gc.collect()
    return {"load_s": seconds, "rss_mb": _resident_mb() - before}


def measure(job: Job) -> dict[str, Any]:
    """Hold the engine to the data, then time it beside the floor."""
    engine, floor = _loaded(job, job.engine), Floor()
    floor.load(floor.source(rules(job.shape, job.n)))
    size = _size(job, _warm_s(job, engine))
    both = {hit: calls(job.shape, job.n, hit=hit, size=size) for hit in (True, False)}
    checked = sum(_check(job, (engine, floor), made) for made in both.values())
    pairs = {hit: _pair(job, engine, floor, made) for hit, made in both.items()}
    row = {**_row(pairs), "calls": size, "checked": checked}
    for hit, made in both.items():
        row[f"{'hit' if hit else 'miss'}_p99_us"] = tail_us(_side(engine, made), budget_s=job.budget_s / 10)
    row |= _whole(job, engine, both[True])
    return row | _reloading(job, engine, both[True])


def _loaded(job: Job, name: str) -> Entrant:
    engine = entrant(name)
    engine.load(job.texts[0].read_text())
    return engine


def _warm_s(job: Job, engine: Entrant) -> float:
    """Give the seconds that a miss takes when it is not the first."""
    side, times = _side(engine, calls(job.shape, job.n, hit=False, size=3)), []
    for given in side.inputs:
        began = time.perf_counter()
        engine.find(given)
        times.append(time.perf_counter() - began)
    return min(times)


def _size(job: Job, call_s: float) -> int:
    """Give as many calls as leave room for several blocks within the budget."""
    fits = int(job.budget_s / 60 / max(call_s, 1e-7))
    return max(4, min(fits, 200 if job.quick else CALLS))


def _side(engine: Entrant, made: list[Call]) -> Side:
    return Side(engine.find, [engine.input(call) for call in made])


def _check(job: Job, engines: Iterable[Entrant], made: list[Call]) -> int:
    """Hold engines to the data, and the data to the linear truth on as many calls as trying every rule allows."""
    ordered = rules(job.shape, job.n).rules
    for call in _some(made, max(4, min(SAMPLE, TRUTH // job.n))):
        if first_match(ordered, call) != call.meant:
            raise WrongAnswer(f"the data itself: {call} gives {first_match(ordered, call)}")
    some = _some(made, SAMPLE)
    for engine in engines:
        for call in some:
            found = engine.rule_of(engine.find(engine.input(call)))
            if found != call.meant:
                raise WrongAnswer(f"{engine.name}: {call} gives {found}")
    return len(some)


def _some(made: list[Call], count: int) -> list[Call]:
    """Give about as many calls, from all over the list."""
    return made[:: max(1, len(made) // count)]


def _pair(job: Job, engine: Entrant, floor: Floor, made: list[Call]) -> Pair:
    rounds = 6 if job.quick else 60
    return paired(_side(engine, made), _side(floor, made), budget_s=job.budget_s / 5, rounds=rounds)


def _row(pairs: dict[bool, Pair]) -> dict[str, Any]:
    hit, miss = pairs[True], pairs[False]
    return {
        "hit_us": hit.ours_us,
        "miss_us": miss.ours_us,
        "ratio": max(hit.ratio, miss.ratio),
        "ratio_hit": hit.ratio,
        "ratio_miss": miss.ratio,
        "floor_hit_us": hit.floor_us,
        "floor_miss_us": miss.floor_us,
    }


def _whole(job: Job, engine: Entrant, made: list[Call]) -> dict[str, Any]:
    """Time the whole decision, where the engine makes one: with contexts seen before, and with new ones each time."""
    decide = getattr(engine, "decide", None)
    if decide is None:
        return {}
    side = Side(decide, _side(engine, made).inputs)
    fresh = [once_us(Side(decide, _side(engine, made).inputs)) for _ in range(3 if job.quick else 15)]
    seen = paired(side, side, budget_s=job.budget_s / 10, rounds=6 if job.quick else 30)
    return {
        "decide_us": seen.ours_us,
        "decide_p99_us": tail_us(side, budget_s=job.budget_s / 10),
        "decide_fresh_us": statistics.median(fresh),
    }


def _reloading(job: Job, engine: Entrant, made: list[Call]) -> dict[str, Any]:
    """Time calls while revisions are loaded one after the other; nothing where one alone takes too long."""
    texts, turn, latest = [path.read_text() for path in job.texts], 0, copy.copy(engine)
    began = time.perf_counter()
    latest.load(texts[1])
    if time.perf_counter() - began > job.budget_s / 5:
        return {}

    def reload() -> Side:
        nonlocal turn, latest
        turn += 1
        latest = copy.copy(latest)  # shares what was imported, and the decider that is swapped into
        latest.load(texts[turn % 2])
        return Side(getattr(latest, "decide", latest.find), inputs)

    inputs = _side(engine, made).inputs
    held = [Side(getattr(engine, "decide", engine.find), inputs)]
    found = while_reloading(held, reload, least_s=0.2 if job.quick else 2.0, budget_s=job.budget_s / 2)
    latest.load(texts[0])
    _check(job, (latest,), made)
    return found


def _resident_mb() -> float:
    """Give what this process holds in memory now (Linux)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


WORK = {"write": write, "load": load, "measure": measure}


def main() -> None:
    """Do one job; say on standard output what came of it."""
    job = Job(**json.loads(sys.argv[1]))
    try:
        answer = WORK[job.work](job)
    except (NotExpressible, WrongAnswer) as error:
        answer = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
