"""What ``@model_context`` costs over the bare call, measured in pairs in one run.

The plane is once one whose ``publish`` does nothing, which leaves the decorator alone, and once the real one in memory,
over a thousand orders, where the publisher competes for the interpreter. Each round times the bare call and the
decorated one after another, in CPU time of this thread; the difference of their medians is the cost. Usage::

    python benchmarks/capture.py [--json FILE] [--rounds N]
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from mcp_sdk import BusinessModel, EntityRef, Mesh, ModelContext, Transition, context_observer, current, model_context
from mcp_sdk.ports import ControlPlane

CALLS = 1000
BUDGET = 3.0
Pairs = list[tuple[float, float]]


@dataclass
class Order:
    """The entity: an id, a state, one attribute."""

    number: str
    status: str = "created"
    tier: str = "gold"
    amount: Decimal = Decimal("12.50")


class SilentPlane(ControlPlane):
    """A control plane that answers nothing and keeps one context, as the real one would."""

    def __init__(self, attributes: dict[str, Any]) -> None:
        self._known = ModelContext("order", "o-1", "created", attributes, 7)

    def start(self, _: object) -> Future[None]:
        """Begin nothing."""
        done: Future[None] = Future()
        done.set_result(None)
        return done

    def publish(self, transitions: Sequence[Transition]) -> None:
        """Drop them."""

    def known(self, _: EntityRef) -> ModelContext | None:
        """Give the one context."""
        return self._known

    def listen(self, models: Iterable[str]) -> None:
        del models

    def subscribe(self, _: object) -> Callable[[], None]:
        """Never call."""
        return lambda: None

    def close(self, timeout: float) -> None:
        """Stop nothing."""

    def _unused(self, *_: Any, **__: Any) -> Any:
        raise NotImplementedError

    needs = decide = residue = endpoints = fetch = list = register = apply = keys = snapshot = status = flush = (
        policies
    ) = policy_history = history = forget = probe = _unused


def order_model(attribute: str, kind: str) -> BusinessModel:
    """Declare the order with one attribute."""
    return BusinessModel(
        "order",
        key="number",
        state="status",
        states=("created", "paid"),
        attributes={attribute: kind},
        python_type=Order,
    )


def bare(order: object) -> object:
    """Stand for business code."""
    return order


async def abare(order: object) -> object:
    """Stand for asynchronous business code."""
    return order


@model_context(model="order", state="paid")
def object_call(order: Order) -> Order:
    """Be given the object."""
    return order


@model_context(model="order", state="paid")
def id_call(order_number: str) -> str:
    """Be given the id."""
    return order_number


@context_observer
def observed_call(order: Order) -> Order:
    """Change nothing."""
    return order


@model_context(model="order", state="paid")
async def async_call(order: Order) -> Order:
    """Be given the object, asynchronously."""
    return order


def timed(function: Callable[[Any], Any], arguments: list[Any]) -> float:
    """Give microseconds of CPU time a call."""
    began = time.thread_time_ns()
    for argument in arguments:
        function(argument)
    return (time.thread_time_ns() - began) / len(arguments) / 1e3


async def atimed(function: Callable[[Any], Any], arguments: list[Any]) -> float:
    """Give microseconds of CPU time an awaited call."""
    began = time.thread_time_ns()
    for argument in arguments:
        await function(argument)
    return (time.thread_time_ns() - began) / len(arguments) / 1e3


def paired(decorated: Callable[[Any], Any], arguments: list[Any], rounds: int, rest: Callable[[], object]) -> Pairs:
    """Time the bare and the decorated call one after another, and ``rest`` after each round."""
    if asyncio.iscoroutinefunction(decorated):
        return asyncio.run(_apaired(decorated, arguments, rounds, rest))
    pairs = []
    for _ in range(rounds):
        pairs.append((timed(bare, arguments), timed(decorated, arguments)))
        rest()
    return pairs


async def _apaired(
    decorated: Callable[[Any], Any], arguments: list[Any], rounds: int, rest: Callable[[], object]
) -> Pairs:
    pairs = []
    for _ in range(rounds):
        pairs.append((await atimed(abare, arguments), await atimed(decorated, arguments)))
        rest()
    return pairs


ORDERS = [Order(f"o-{index}") for index in range(CALLS)]
IDS: list[Any] = [order.number for order in ORDERS]
CASES: list[tuple[str, Callable[[Any], Any], list[Any], str]] = [
    ("object with a string attribute", object_call, ORDERS, "tier"),
    ("object with a decimal attribute", object_call, ORDERS, "amount"),
    ("id argument", id_call, IDS, "tier"),
    ("object, inside a request", object_call, ORDERS, "tier"),
    ("coroutine, object", async_call, ORDERS, "tier"),
    ("observer, nothing changed", observed_call, ORDERS, "tier"),
]


def measure(rounds: int) -> list[dict[str, Any]]:
    """Run every case over both planes."""
    return [one(plane, case, rounds) for plane in ("no-op", "memory") for case in CASES]


def one(plane: str, case: tuple[str, Callable[[Any], Any], list[Any], str], rounds: int) -> dict[str, Any]:
    """Run one case."""
    name, function, arguments, attribute = case
    model = order_model(attribute, "decimal" if attribute == "amount" else "string")
    given: Any = SilentPlane({attribute: "gold" if attribute == "tier" else 1250}) if plane == "no-op" else "memory:"
    with Mesh(service="bench", models=[model], control_plane=given, queue_size=CALLS * 2) as mesh:
        rest = gc.collect if plane == "no-op" else lambda: mesh.control_plane.flush(30)
        work = current.Record(mesh) if "request" in name else None
        current.set_record(work)
        paired(function, arguments, 3, rest)
        gc.disable()
        pairs = paired(function, arguments, rounds, rest)
        gc.enable()
        current.forget()
        drops = {"/".join(labels): count for labels, count in mesh.telemetry.drops.read().items()}
    reference, decorated = (statistics.median(figures) for figures in zip(*pairs, strict=True))
    best = min(pair[1] - pair[0] for pair in pairs)
    cost = decorated - reference
    figures = {"bare_us": reference, "decorated_us": decorated, "cost_us": cost, "best_us": best}
    return {"plane": plane, "case": name, **figures, "drops": drops}


def show(rows: list[dict[str, Any]]) -> None:
    """Print the table."""
    print(f"{'plane':8} {'case':34} {'bare µs':>8} {'decorated':>10} {'cost':>8} {'best':>8}   budget {BUDGET} µs")
    for row in rows:
        verdict = "ok" if row["cost_us"] <= BUDGET else "missed"
        figures = f"{row['bare_us']:8.2f} {row['decorated_us']:10.2f} {row['cost_us']:8.2f} {row['best_us']:8.2f}"
        drops = f" drops: {row['drops']}" if row["drops"] else ""
        print(f"{row['plane']:8} {row['case']:34} {figures}   {verdict}{drops}")


def main() -> None:
    """Measure, print, and write JSON where asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--rounds", type=int, default=40)
    options = parser.parse_args()
    rows = measure(options.rounds)
    show(rows)
    if options.json:
        options.json.write_text(json.dumps({"budget_us": BUDGET, "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
