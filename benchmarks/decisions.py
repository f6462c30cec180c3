"""What a whole decision with its reason costs, and what a hundred thousand rules cost to load.

    python benchmarks/decisions.py [--rules N] [--json FILE]

The reference beside each decision is the traffic rules written by hand. Loading is measured in a process of its own,
from the programs as a store holds them (JSON text) to an engine that decides; its reference is that JSON text read and
nothing else.
"""

from __future__ import annotations

import argparse
import gc
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mcp_sdk import BusinessModel, DecisionRequest, ModelContext
from mcp_sdk.policy import Engine, compile_policies

ORDER = BusinessModel("order", states=("created", "paid"), attributes={"amount": "decimal"})
USER = BusinessModel("user", principal=True, attributes={"tier": "string"})
MODELS = {"order": ORDER, "user": USER}
TRAFFIC = """\
apiVersion: mesh.mcp-sdk.dev/v1alpha1
kind: TrafficPolicy
metadata: {name: orders}
spec:
  target: {service: orders}
  rules:
  - {name: vip, when: "user.tier in ['vip', 'platinum']", route: {subset: {class: performance}}}
  - {name: large, when: "order.amount > 1000", route: {version: v3}}
  - {name: created, when: "order.state == 'created'", route: {version: v2}}
  default: {version: v1}
"""
ACCESS = """\
apiVersion: mesh.mcp-sdk.dev/v1alpha1
kind: AccessPolicy
metadata: {name: regions}
spec:
  target: {service: orders}
  default: permit
  rules:
  - {name: region, when: "request.geo.country in ['XX', 'YY']", effect: deny, reason: region not served}
"""
QOS = """\
apiVersion: mesh.mcp-sdk.dev/v1alpha1
kind: QosPolicy
metadata: {name: tiers}
spec:
  target: {service: orders}
  rules:
  - {name: vip, when: "user.tier == 'vip'", qos: {priority: high}}
"""
LIMIT = """\
apiVersion: mesh.mcp-sdk.dev/v1alpha1
kind: RateLimitPolicy
metadata: {name: burst}
spec:
  target: {service: orders}
  rules:
  - {name: each, when: "true", limit: {requests: 20, per: 1s, key: principal.id}}
"""
P50_US, P99_US, LOAD_S, LOAD_MB = 5.0, 20.0, 2.0, 100.0


def by_hand(request: DecisionRequest) -> str:
    """Decide the traffic rules as a person would write them."""
    order = request.contexts.get("order")
    if order is not None and order.attributes.get("amount", 0) > 100_000:
        return "v3"
    return {"created": "v2"}.get(order.state or "", "v1") if order is not None else "v1"


def microseconds(decide: Callable[[DecisionRequest], Any], request: DecisionRequest, count: int) -> tuple[float, float]:
    """Give the median and the 99th percentile of single calls."""
    clock, times = time.perf_counter_ns, []
    for _ in range(count):
        began = clock()
        decide(request)
        times.append(clock() - began)
    ordered = sorted(times)
    return ordered[count // 2] / 1e3, ordered[count * 99 // 100] / 1e3


def deciding(count: int) -> list[dict[str, Any]]:
    """Measure decisions by one, two and four kinds of policy."""
    order = ModelContext("order", "o-1", "created", {"amount": 150}, 7)
    request = DecisionRequest("orders", "POST /orders", contexts={"order": order})
    rows = []
    sets = {"traffic": [TRAFFIC], "and access": [TRAFFIC, ACCESS], "all four": [TRAFFIC, ACCESS, QOS, LIMIT]}
    for name, texts in sets.items():
        engine = Engine(compile_policies({"p.yaml": "---\n".join(texts)}, MODELS), MODELS, epoch=1, revision=1)
        turns = [(microseconds(engine.decide, request, count), microseconds(by_hand, request, count)) for _ in range(5)]
        ours = [statistics.median(turn[0][i] for turn in turns) for i in (0, 1)]
        hand = statistics.median(turn[1][0] for turn in turns)
        rows.append({"what": f"decision, {name}", "p50_us": ours[0], "p99_us": ours[1], "by_hand_us": hand})
    return rows


def many(rules: int) -> str:
    """Give the programs of as many rules, each with a state of its own, as JSON text."""
    states = tuple(f"s{number}" for number in range(rules))
    models = {"order": BusinessModel("order", states=states)}
    head = TRAFFIC.split("  rules:", maxsplit=1)[0]
    lines = (f"  - {{name: r{n}, when: \"order.state == 's{n}'\", route: {{version: v{n % 7}}}}}" for n in range(rules))
    return json.dumps(compile_policies({"p.yaml": "\n".join([head.rstrip(), "  rules:", *lines, ""])}, models))


def resident_mb() -> float:
    """Give what this process holds in memory now (Linux)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


def load(path: Path, mode: str) -> None:
    """Load programs in this process and print what that cost; the body of a child process."""
    before = resident_mb()
    began = time.perf_counter()
    programs = json.loads(path.read_text())
    if mode == "engine":
        engine = Engine(programs, {"order": BusinessModel("order")}, epoch=1, revision=1)
        engine.decide(DecisionRequest("orders"))
    seconds = time.perf_counter() - began
    del programs
    gc.collect()
    print(json.dumps([seconds, resident_mb() - before]))


def child(command: list[str]) -> Any:
    """Run a child and give what it printed."""
    return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)


def loading(rules: int) -> dict[str, Any]:
    """Measure loading in children of their own, ours and the bare JSON in turn."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "programs.json"
        path.write_text(many(rules))
        command = [sys.executable, __file__, "--load", str(path)]
        runs = {mode: [child([*command, mode]) for _ in range(3)] for mode in ("engine", "json")}
    cost = {mode: [statistics.median(run[i] for run in each) for i in (0, 1)] for mode, each in runs.items()}
    return {
        "what": f"load, {rules} rules",
        "seconds": cost["engine"][0],
        "mb": cost["engine"][1],
        "json_seconds": cost["json"][0],
        "json_mb": cost["json"][1],
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rules", type=int, default=100_000)
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--load", nargs=2, metavar=("PATH", "MODE"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.load:
        load(Path(args.load[0]), args.load[1])
        return
    rows = deciding(args.count)
    print(f"{'':<26}{'p50 µs':>8}{'p99 µs':>8}{'by hand':>9}   budget {P50_US:g} and {P99_US:g}")
    for row in rows:
        print(f"{row['what']:<26}{row['p50_us']:>8.2f}{row['p99_us']:>8.2f}{row['by_hand_us']:>9.2f}")
    rows.append(loading(args.rules))
    last = rows[-1]
    print(f"{'':<26}{'s':>8}{'MB':>8}{'JSON s':>9}{'JSON MB':>9}   budget {LOAD_S:g} s and {LOAD_MB:g} MB")
    print(
        f"{last['what']:<26}{last['seconds']:>8.2f}{last['mb']:>8.0f}{last['json_seconds']:>9.2f}{last['json_mb']:>9.0f}"
    )
    if args.json:
        args.json.write_text(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
