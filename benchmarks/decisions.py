"""What a whole decision with its reason costs by the kinds of policy that speak of the call.

    python benchmarks/decisions.py [--count N] [--json FILE]

The reference, in turns with each, is the traffic rules written by hand. What many rules cost is in ``policy.py``.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from policy_engines.timing import Side, paired, tail_us

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
P50_US, P99_US = 5.0, 20.0


def by_hand(request: DecisionRequest) -> str:
    """Decide the traffic rules as a person would write them."""
    order = request.contexts.get("order")
    if order is not None and order.attributes.get("amount", 0) > 100_000:
        return "v3"
    return {"created": "v2"}.get(order.state or "", "v1") if order is not None else "v1"


def deciding(count: int) -> list[dict[str, Any]]:
    """Measure decisions by one, two and four kinds of policy."""
    order = ModelContext("order", "o-1", "created", {"amount": 150}, 7)
    calls = [DecisionRequest("orders", "POST /orders", contexts={"order": order})] * (count // 20)
    rows = []
    sets = {"traffic": [TRAFFIC], "and access": [TRAFFIC, ACCESS], "all four": [TRAFFIC, ACCESS, QOS, LIMIT]}
    for name, texts in sets.items():
        engine = Engine(compile_policies({"p.yaml": "---\n".join(texts)}, MODELS), MODELS, epoch=1, revision=1)
        ours = Side(engine.decide, calls)
        pair, tail = paired(ours, Side(by_hand, calls), budget_s=20, rounds=20), tail_us(ours, budget_s=20)
        rows.append({"what": f"decision, {name}", "p50_us": pair.ours_us, "p99_us": tail, "by_hand_us": pair.floor_us})
    return rows


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    rows = deciding(args.count)
    print(f"{'':<26}{'p50 µs':>8}{'p99 µs':>8}{'by hand':>9}   budget {P50_US:g} and {P99_US:g}")
    for row in rows:
        print(f"{row['what']:<26}{row['p50_us']:>8.2f}{row['p99_us']:>8.2f}{row['by_hand_us']:>9.2f}")
    if args.json:
        args.json.write_text(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
