"""What a look-up and a whole decision cost, by shape and number of rules, beside other policy engines.

    python benchmarks/policy.py [--n N …] [--shape SHAPE …] [--engines ENGINE …] [--quick] [--json FILE] [--svg FILE]
    python benchmarks/policy.py --n 10 10000 --shape eq --engines ours floor --json rows.json

Each engine is measured in a process of its own, in turns with an index written by hand (``floor``) over the same calls:
``ratio`` is to that floor, the larger of hits and misses. An engine that answers another rule than the data says is not
measured. Peers are installed into environments of their own under ``--envs``. ``--table FILE`` draws the table and the
chart again from rows measured before.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from policy_engines.cells import Plan, rows
from policy_engines.chart import draw
from policy_engines.environments import default_folder
from policy_engines.registry import ENGINES
from policy_engines.rules import SHAPES
from policy_engines.table import targets, written

SIZES = [10, 1000, 10_000, 100_000]


def main() -> int:
    """Measure, print the table and the targets; give 1 where a cell of ours or the floor has no figures."""
    args = parse()
    found: list[dict[str, Any]] = []
    for row in _measured_before(args.table) if args.table else rows(_plan(args)):
        found.append(row)
        if args.json:
            args.json.write_text(json.dumps(found, indent=1) + "\n")
    if args.svg:
        args.svg.write_text(draw(found))
    print(written(found))
    print()
    print(targets(found))
    return int(any("note" in row for row in found if row["engine"] in ("ours", "floor")))


def _measured_before(files: list[Path]) -> list[dict[str, Any]]:
    """Give rows of several runs in the order of one."""
    found = [row for path in files for row in json.loads(path.read_text())]
    engines, shapes = list(ENGINES), list(SHAPES)
    return sorted(found, key=lambda row: (engines.index(row["engine"]), shapes.index(row["shape"]), row["n"]))


def _plan(args: argparse.Namespace) -> Plan:
    return Plan(args.engines, args.shape, args.n, args.envs, args.budget, args.quick)


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, nargs="+", default=SIZES, metavar="N", help="numbers of rules")
    parser.add_argument(
        "--shape", nargs="+", choices=SHAPES, default=list(SHAPES), metavar="SHAPE", help=", ".join(SHAPES)
    )
    parser.add_argument(
        "--engines", nargs="+", choices=ENGINES, default=list(ENGINES), metavar="ENGINE", help=", ".join(ENGINES)
    )
    parser.add_argument("--envs", type=Path, default=default_folder(), help="where peers are installed (%(default)s)")
    parser.add_argument("--budget", type=float, default=20.0, help="seconds a cell may take (%(default)s)")
    parser.add_argument("--quick", action="store_true", help="fewer rounds, for a look")
    parser.add_argument("--json", type=Path, help="write the rows here")
    parser.add_argument("--svg", type=Path, help="draw latency against the number of rules here")
    parser.add_argument("--table", type=Path, nargs="+", metavar="FILE", help="rows that --json wrote: measure nothing")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
