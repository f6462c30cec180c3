"""What the control-plane server carries: fan-out, transitions, decisions, snapshots, each beside a reference.

Every part starts ``mcpctl serve`` as a process of its own, with clients in at most four processes::

    python benchmarks/server.py [--part fanout publish decide snapshot crowd] [--clients 10 100 1000] [--store URL]
        [--rates 10000 5000] [--entities 1000000] [--json FILE]

``fanout``    policy applied → decided by N connections; beside a bare WebSocket server that sends as much to as many
``publish``   transitions a second over HTTP, in batches; beside the same store without the server
``decide``    questions a second over HTTP, singly and in batches; beside a bare FastAPI route
``snapshot``  100 000 rules: from ``apply`` to decided by a client
``crowd``     transitions offered at a rate over many entities, of which clients hold 1 000 each: how late they hear
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from server_parts import crowd, decide, fanout, publish, snapshot

PARTS = ("fanout", "publish", "decide", "snapshot", "crowd")


def measured(options: argparse.Namespace) -> dict[str, Any]:
    """Run the parts that were asked for."""
    store, counts = options.store, options.clients
    doing = {
        "fanout": lambda: [
            *({"who": "ours", **fanout.measure(count, store)} for count in counts),
            *({"who": "bare", **fanout.bare_measure(count)} for count in counts),
        ],
        "publish": lambda: publish.measure(store),
        "decide": lambda: decide.measure(store),
        "snapshot": lambda: snapshot.measure(100_000, store),
        "crowd": lambda: crowd.measure(store, options.rates, options.holders, options.entities, options.seconds),
    }
    return {part: doing[part]() for part in PARTS if part in options.part}


def main() -> None:
    """Print what was measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--clients", nargs="+", type=int, default=[10, 100, 1000])
    parser.add_argument("--store", default="")
    parser.add_argument("--rates", nargs="+", type=int, default=[10_000, 5_000], help="transitions a second, of crowd")
    parser.add_argument("--holders", type=int, default=100, help="clients of crowd")
    parser.add_argument("--entities", type=int, default=1_000_000, help="those of crowd")
    parser.add_argument("--seconds", type=float, default=20.0, help="how long crowd offers one rate")
    parser.add_argument("--json")
    options = parser.parse_args()
    text = json.dumps(measured(options), indent=2)
    if options.json:
        Path(options.json).write_text(text)
    print(text)


if __name__ == "__main__":
    main()
