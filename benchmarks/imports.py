"""What ``import mcp_sdk`` costs over ``import opentelemetry`` (its API), and what it must not pull in.

    python benchmarks/imports.py [--check] [--json FILE]

``--check`` fails when a framework, httpx, YAML or native code is pulled in. Times are medians of whole interpreters,
the two taking turns in one run.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

FORBIDDEN = (
    "fastapi",
    "starlette",
    "flask",
    "django",
    "httpx",
    "yaml",
    "sqlite3",
    "cel_expr_python",
    "re2",
    "xxhash",
    "rich",
)
REFERENCE = "import opentelemetry.trace, opentelemetry.metrics, opentelemetry.baggage, opentelemetry.propagate"
RUNS, BUDGET_MS = 15, 60.0


def seconds(code: str) -> float:
    """Time one interpreter."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return time.perf_counter() - began


def pulled_in() -> list[str]:
    """Name the forbidden modules that ``import mcp_sdk`` loads."""
    code = f"import mcp_sdk, sys; print([name for name in {FORBIDDEN!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return list(json.loads(done.stdout.replace("'", '"')))


def measure() -> dict[str, float]:
    """Give medians in milliseconds."""
    pairs = [(seconds(REFERENCE), seconds(f"{REFERENCE}; import mcp_sdk")) for _ in range(RUNS)]
    reference = statistics.median(first for first, _ in pairs) * 1e3
    over = statistics.median(second - first for first, second in pairs) * 1e3
    return {"opentelemetry_api_ms": reference, "over_ms": over, "budget_ms": BUDGET_MS}


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    found = pulled_in()
    if args.check:
        print(f"import mcp_sdk pulls in: {found or 'nothing that it must not'}")
        return int(bool(found))
    row = measure()
    print(f"{'import':<28}{'ms':>8}\n{'opentelemetry API':<28}{row['opentelemetry_api_ms']:>8.1f}")
    print(f"{'mcp_sdk over it':<28}{row['over_ms']:>8.1f}   budget {BUDGET_MS:.0f}")
    if args.json:
        args.json.write_text(json.dumps(row, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
