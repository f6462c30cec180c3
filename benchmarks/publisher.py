"""What ``publish`` costs its caller, and what the plane adds to a decision, beside the bare thing in the same run.

The references: appending to a ``deque`` under a lock for ``publish``, the engine alone for ``decide``, the store's
``get`` on a running loop for ``fetch``. Usage::

    python benchmarks/publisher.py [--json FILE] [--count N]
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import tempfile
import time
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Lock
from typing import Any

from mcp_sdk.config import Config
from mcp_sdk.context import EntityRef, Transition
from mcp_sdk.control.decider import build
from mcp_sdk.control.local import LocalControlPlane
from mcp_sdk.decisions import DecisionRequest
from mcp_sdk.ports import Identity, Store
from mcp_sdk.snapshot import Snapshot
from mcp_sdk.stores.memory import MemoryStore
from mcp_sdk.stores.sqlite import SqliteStore
from mcp_sdk.telemetry import Telemetry

PUBLISH_BUDGET_US, DECIDE_BUDGET_US = 2.0, 1.0
BURST = 100


def plane(store: Store, count: int) -> LocalControlPlane:
    """Give a started plane whose queue holds the whole run."""
    made = LocalControlPlane(store, Identity("shop"), Config(queue_size=count * 2), Telemetry())
    made.start([]).result(10)
    return made


def moves(count: int) -> list[tuple[Transition]]:
    """Give single transitions of a thousand entities."""
    return [(Transition("order", f"o-{number % 1000}", "created", uuid.uuid4().hex),) for number in range(count)]


def bursts(call: Callable[[Any], object], arguments: Sequence[Any]) -> float:
    """Give the median microseconds of a call, over bursts of a hundred."""
    samples = []
    gc.collect()
    gc.disable()
    for start in range(0, len(arguments), BURST):
        chosen = arguments[start : start + BURST]
        began = time.perf_counter()
        for argument in chosen:
            call(argument)
        samples.append((time.perf_counter() - began) / len(chosen) * 1e6)
        time.sleep(0.001)
    gc.enable()
    return statistics.median(samples)


def publishing(place: Path, count: int) -> list[dict[str, Any]]:
    """Measure the caller's part and the whole way into the file."""
    queue: deque[Any] = deque()
    lock = Lock()

    def bare(transitions: Any) -> None:
        with lock:
            queue.append(transitions)

    reference = bursts(bare, moves(count))
    rows: list[dict[str, Any]] = []
    for name, store in (("memory", MemoryStore()), ("sqlite", SqliteStore(place / "a.db"))):
        made = plane(store, count)
        cost = bursts(made.publish, moves(count))
        made.flush(60)
        sent, began = moves(count), time.perf_counter()
        for transitions in sent:
            made.publish(transitions)
        made.flush(60)
        rate = count / (time.perf_counter() - began)
        made.close(5)
        rows.append(
            {
                "what": f"publish, {name}",
                "unit": "µs",
                "ours": cost,
                "reference": reference,
                "budget": PUBLISH_BUDGET_US,
            }
        )
        rows.append({"what": f"publish to stored, {name}", "unit": "1/s", "ours": rate})
    return rows


def deciding(count: int) -> dict[str, Any]:
    """Measure a decision through the plane and by the engine alone, taking turns."""
    made, engine, request = plane(MemoryStore(), 1), build(Snapshot()), [DecisionRequest("shop")] * count
    pairs = [(bursts(made.decide, request), bursts(engine.decide, request)) for _ in range(3)]
    made.close(5)
    through, alone = (statistics.median(side) for side in zip(*pairs, strict=True))
    return {
        "what": "decide through the plane",
        "unit": "µs",
        "ours": through,
        "reference": alone,
        "added": through - alone,
        "budget_added": DECIDE_BUDGET_US,
    }


def knowing(place: Path, count: int) -> list[dict[str, Any]]:
    """Measure the cache, and a look-up in the file from a thread that waits for it."""
    made = plane(SqliteStore(place / "b.db"), 1000)
    made.publish([Transition("order", "o-1", "created", "e")])
    made.flush(10)
    refs = [EntityRef("order", "o-1")] * count
    known = bursts(made.known, refs)
    session = made._sessions.get()  # noqa: SLF001
    scope = made._shared.identity.scope  # noqa: SLF001
    fetched = bursts(lambda ref: made.fetch([ref]).result(5), refs[:2000])
    store = made._shared.store  # noqa: SLF001
    direct = bursts(lambda ref: session.loop.submit(lambda: store.get(scope, [ref])).result(5), refs[:2000])
    made.close(5)
    return [
        {"what": "known", "unit": "µs", "ours": known},
        {"what": "fetch, sqlite, waited for", "unit": "µs", "ours": fetched, "reference": direct},
    ]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--count", type=int, default=20_000)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as name:
        place = Path(name)
        rows = [*publishing(place, args.count), deciding(args.count), *knowing(place, args.count)]
    for row in rows:
        values = ", ".join(f"{key} {value:,.2f}" for key, value in row.items() if isinstance(value, float))
        print(f"{row['what']:<30}{row['unit']:>5}  {values}")
    if args.json:
        args.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
