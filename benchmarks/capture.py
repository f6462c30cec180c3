"""What ``@model_context`` costs over the bare call, measured in pairs in one run.

The plane is once one whose ``publish`` does nothing, which leaves the decorator alone, and once the real one in memory. Each
round times the bare call and the decorated one after another; the difference of their medians is the cost. Usage::

    python benchmarks/capture.py [--json FILE] [--rounds N]
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from mcp_sdk import BusinessModel, EntityRef, Mesh, ModelContext, Transition, context_observer, model_context
from mcp_sdk.ports import ControlPlane

CALLS = 500
BUDGET = 3.0


@dataclass
class Order:
    """The entity: an id, a state, one attribute."""

    number: str
    status: str = "created"
    tier: str = "gold"
    amount: Decimal = Decimal("12.50")


class SilentPlane(ControlPlane):
    """A control plane that answers nothing and keeps one context, as the real one would."""

    def __init__(self) -> None:
        self._known = ModelContext("order", "o-1", "created", {"tier": "gold"}, 7)

    def start(self, models: object) -> Future[None]:
        """Begin nothing."""
        done: Future[None] = Future()
        done.set_result(None)
        return done

    def publish(self, transitions: Sequence[Transition]) -> None:
        """Drop them."""

    def known(self, ref: EntityRef) -> ModelContext | None:
        """Give the one context."""
        return self._known

    def subscribe(self, callback: object) -> Callable[[], None]:
        """Never call."""
        return lambda: None

    def close(self, timeout: float) -> None:
        """Stop nothing."""

    def _unused(self, *_: Any, **__: Any) -> Any:
        raise NotImplementedError

    needs = decide = endpoints = fetch = list = register = apply = keys = snapshot = status = flush = policies = _unused


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


def timed(function: Callable[[Any], Any], argument: Any) -> float:
    """Give microseconds a call."""
    began = time.perf_counter_ns()
    for _ in range(CALLS):
        function(argument)
    return (time.perf_counter_ns() - began) / CALLS / 1e3


async def atimed(function: Callable[[Any], Any], argument: Any) -> float:
    """Give microseconds an awaited call."""
    began = time.perf_counter_ns()
    for _ in range(CALLS):
        await function(argument)
    return (time.perf_counter_ns() - began) / CALLS / 1e3


def paired(decorated: Callable[[Any], Any], argument: Any, rounds: int) -> tuple[float, float]:
    """Give the medians of the bare and of the decorated call."""
    if asyncio.iscoroutinefunction(decorated):
        pairs = asyncio.run(_apairs(decorated, argument, rounds))
    else:
        pairs = [(timed(bare, argument), timed(decorated, argument)) for _ in range(rounds)]
    return statistics.median(one for one, _ in pairs), statistics.median(other for _, other in pairs)


async def _apairs(decorated: Callable[[Any], Any], argument: Any, rounds: int) -> list[tuple[float, float]]:
    return [(await atimed(abare, argument), await atimed(decorated, argument)) for _ in range(rounds)]


CASES: list[tuple[str, Callable[[Any], Any], Any, str]] = [
    ("object with a string attribute", object_call, Order("o-1"), "tier"),
    ("object with a decimal attribute", object_call, Order("o-1"), "amount"),
    ("id argument", id_call, "o-1", "tier"),
    ("coroutine, object", async_call, Order("o-1"), "tier"),
    ("observer, nothing changed", observed_call, Order("o-1"), "tier"),
]


def measure(rounds: int) -> list[dict[str, Any]]:
    """Run every case over both planes."""
    rows = []
    for plane in ("no-op", "memory"):
        for name, function, argument, attribute in CASES:
            rows.append(one(plane, name, function, argument, attribute, rounds))
    return rows


def one(  # noqa: PLR0913, PLR0917
    plane: str, name: str, function: Callable[[Any], Any], argument: Any, attribute: str, rounds: int
) -> dict[str, Any]:
    """Run one case."""
    model = order_model(attribute, "decimal" if attribute == "amount" else "string")
    given: Any = SilentPlane() if plane == "no-op" else "memory:"
    with Mesh(service="bench", models=[model], control_plane=given, queue_size=10_000_000) as mesh:
        timed(bare, argument)
        paired(function, argument, 3)
        gc.collect()
        gc.disable()
        reference, decorated = paired(function, argument, rounds)
        gc.enable()
        drops = {"/".join(labels): count for labels, count in mesh.telemetry.drops.read().items()}
    cost = decorated - reference
    return {
        "plane": plane,
        "case": name,
        "bare_us": reference,
        "decorated_us": decorated,
        "cost_us": cost,
        "drops": drops,
    }


def show(rows: list[dict[str, Any]]) -> None:
    """Print the table."""
    print(f"{'plane':8} {'case':34} {'bare µs':>8} {'decorated':>10} {'cost':>8}   budget {BUDGET} µs")
    for row in rows:
        verdict = "ok" if row["cost_us"] <= BUDGET else "missed"
        figures = f"{row['bare_us']:8.2f} {row['decorated_us']:10.2f} {row['cost_us']:8.2f}"
        print(
            f"{row['plane']:8} {row['case']:34} {figures}   {verdict}{' drops: ' + str(row['drops']) if row['drops'] else ''}"
        )


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
