"""The table's cells, each measured in children of its own: the rules written, loaded, then asked."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from policy_engines.child import Job
from policy_engines.environments import CannotInstall, python_for
from policy_engines.registry import ENGINES, Source

__all__ = ["OVER", "Plan", "rows"]

HERE = Path(__file__).parents[1]
FIELDS = ("hit_us", "miss_us", "ratio", "load_s", "rss_mb")
OVER = "over budget"
WRITE_S, SLACK_S, SLOW_LOAD_S = 900, 30, 5
Row = dict[str, Any]


class Failed(Exception):
    """A cell that has no figures; the text says why."""


@dataclass(frozen=True)
class Plan:
    """What to measure: every engine at every shape and size, ``budget_s`` for each cell at the most."""

    engines: Sequence[str]
    shapes: Sequence[str]
    sizes: Sequence[int]
    envs: Path
    budget_s: float
    quick: bool


def rows(plan: Plan, sources: Mapping[str, Source] = ENGINES) -> Iterator[Row]:
    """Yield the rows as they are measured; one without figures has a ``note`` that says why."""
    for name in plan.engines:
        try:
            python = python_for(sources[name].packages, plan.envs)
        except CannotInstall as error:
            yield from (_empty(name, shape, n, str(error)) for shape in plan.shapes for n in plan.sizes)
            continue
        for shape in plan.shapes:
            yield from _growing(plan, python, name, shape)


def _growing(plan: Plan, python: str, name: str, shape: str) -> Iterator[Row]:
    """Measure one engine at one shape, from the smallest size until one is over budget."""
    note = ""
    for n in sorted(plan.sizes):
        if note == OVER:
            yield _empty(name, shape, n, OVER)
            continue
        row = _cell(plan, python, name, shape, n)
        note = row.get("note", "")
        yield row


def _cell(plan: Plan, python: str, name: str, shape: str, n: int) -> Row:
    print(f"{name:<12} {shape:<7} {n:>7} …", end="", file=sys.stderr, flush=True)
    head = {"engine": name, "shape": shape, "n": n}
    with TemporaryDirectory() as folder:
        try:
            measured = _measured(plan, python, Job("", **head, folder=folder, budget_s=plan.budget_s, quick=plan.quick))
        except Failed as error:
            print(f" {error}", file=sys.stderr)
            return _empty(name, shape, n, str(error))
    print(f" {measured['hit_us']:.2f} µs, {measured['ratio']:.2f} times the floor", file=sys.stderr)
    return {
        **head,
        **{field: measured[field] for field in FIELDS},
        **measured,
        "packages": list(ENGINES[name].packages),
    }


def _measured(plan: Plan, python: str, job: Job) -> Row:
    _child(python, job, "write", WRITE_S)
    loads = [_child(python, job, "load", plan.budget_s + SLACK_S)]
    if loads[0]["load_s"] > plan.budget_s:
        raise Failed(OVER)
    if loads[0]["load_s"] < SLOW_LOAD_S and not plan.quick:
        loads += [_child(python, job, "load", plan.budget_s + SLACK_S) for _ in range(2)]
    cost = {field: statistics.median(load[field] for load in loads) for field in ("load_s", "rss_mb")}
    return {**_child(python, job, "measure", 6 * plan.budget_s + SLACK_S), **cost}


def _child(python: str, job: Job, work: str, timeout_s: float) -> Row:
    paths = [str(HERE), str(HERE.parent / "src"), *filter(None, [os.environ.get("PYTHONPATH")])]
    command = [python, "-m", "policy_engines.child", json.dumps(asdict(job) | {"work": work})]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    try:
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired:
        raise Failed(OVER) from None
    if done.returncode:
        last = (done.stderr.strip() or f"exit status {done.returncode}").splitlines()[-1]
        raise Failed(f"failed to {work}: {last}")
    answer: Row = json.loads(done.stdout.splitlines()[-1])
    if "error" in answer:
        raise Failed(answer["error"])
    return answer


def _empty(name: str, shape: str, n: int, note: str) -> Row:
    return {"engine": name, "shape": shape, "n": n, **dict.fromkeys(FIELDS), "note": note}
