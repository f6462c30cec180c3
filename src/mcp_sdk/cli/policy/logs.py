"""Decision logs from disk or standard input, and reports on them: what ``simulate`` and ``replay`` share."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, BinaryIO

from mcp_sdk.cli.command import FAILED, OK, WrongUsage
from mcp_sdk.cli.output import Output
from mcp_sdk.cli.plane import connected, namespace_of
from mcp_sdk.cli.policy.verb import counted
from mcp_sdk.cli.sources import read_models, read_policies
from mcp_sdk.models import BusinessModel

if TYPE_CHECKING:
    from mcp_sdk.policy.engine import Engine
    from mcp_sdk.policy.history.records import Line
    from mcp_sdk.policy.history.replay import Report

__all__ = ["add_log", "engine_of", "finish", "read_lines", "watched"]

STEP = 2**18


def add_log(parser: ArgumentParser) -> None:
    """Add the logs, and what is done with what comes of them."""
    parser.add_argument("logs", nargs="+", metavar="LOG", help="decision logs, JSON lines; - is standard input")
    parser.add_argument("--samples", type=int, default=3, metavar="N", help="calls to show of each change (default: 3)")
    parser.add_argument(
        "--fail-on",
        choices=("any", "refused", "none"),
        default="any",
        help="exit status 1 when a call is decided otherwise (any, default), or when one is newly refused",
    )
    parser.add_argument("--complete", action="store_true", help="exit status 1 also when a line could not be decided")


def engine_of(
    paths: Sequence[str] | None, args: Namespace, models: Mapping[str, BusinessModel] = MappingProxyType({})
) -> Engine:
    """Give an engine of policy files, or of what is in force in the store where there are none.

    ``models`` are those of files that declare none.
    """
    from mcp_sdk.policy import compile_policies  # noqa: PLC0415 - the engine's load is for these verbs alone
    from mcp_sdk.policy.history.replay import engine_for_replay  # noqa: PLC0415

    if paths:
        models = read_models(paths) or models
        return engine_for_replay(compile_policies(read_policies(paths), models, namespace=namespace_of(args)), models)
    with connected(args) as mesh:
        snapshot = mesh.control_plane.snapshot()
        return engine_for_replay(snapshot.programs, snapshot.models)


def watched(logs: Sequence[str], output: Output, run: Callable[[Iterator[Line]], Report]) -> Report:
    """Run something over the lines of logs, with a progress bar."""
    total = sum(_size(log) for log in logs)
    with output.progress("reading the log", total) as advance:
        return run(read_lines(logs, advance))


def _size(log: str) -> int:
    if log == "-":
        return 0
    if not Path(log).is_file():
        raise WrongUsage(f"{log} is no file; a decision log holds a JSON record on each line")
    return Path(log).stat().st_size


def read_lines(logs: Sequence[str], advance: Callable[[int], object]) -> Iterator[Line]:
    """Yield the lines of logs, in order; of one that is too long only so much that it shows."""
    for log in logs:
        name = log if len(logs) > 1 else ""
        with nullcontext(sys.stdin.buffer) if log == "-" else Path(log).open("rb") as stream:
            yield from _lines(stream, name, advance)


def _lines(stream: BinaryIO, name: str, advance: Callable[[int], object]) -> Iterator[Line]:
    from mcp_sdk.policy.history.records import LONGEST, Line  # noqa: PLC0415

    number = pending = 0
    while raw := stream.readline(LONGEST + 1):
        number += 1
        pending += len(raw) + _skip_rest(stream, raw)
        if pending >= STEP:
            advance(pending)
            pending = 0
        yield Line(number, raw, whole=raw.endswith(b"\n"), log=name)
    advance(pending)


def _skip_rest(stream: BinaryIO, raw: bytes) -> int:
    skipped = 0
    while raw and not raw.endswith(b"\n"):
        raw = stream.readline(STEP)
        skipped += len(raw)
    return skipped


def finish(report: Report, args: Namespace, output: Output) -> int:
    """Print a report and give the exit status; raises ``WrongUsage`` where not one line could be decided."""
    if output.for_machines:
        output.data(report.to_dict())
    else:
        _print(report, output)
    if not report.decided:
        raise WrongUsage("the log holds no record that could be decided again, so nothing was checked")
    failing = {"any": report.otherwise, "refused": report.refused, "none": 0}[args.fail_on]
    return FAILED if failing or (args.complete and report.undecided) else OK


def _print(report: Report, output: Output) -> None:
    plain: dict[str, Any] = report.to_dict()
    share = f" ({report.otherwise / report.decided:.1%})" if report.otherwise else ""
    refused = f", {report.refused} of them newly refused" if report.refused else ""
    output.line(f"{counted(report.decided, 'call')} decided, {report.otherwise} otherwise{share}{refused}")
    if plain["changes"]:
        rows = [[row["what"], row["before"], row["after"], row["calls"]] for row in plain["changes"]]
        output.line()
        output.table(["change", "before", "after", "calls"], rows)
    if plain["rules"]:
        output.line()
        output.table(["rule that newly speaks", "calls"], [[_rule(row), row["calls"]] for row in plain["rules"]])
    for sample in report.samples:
        output.line(
            f"\n{sample.place}: {sample.operation or 'a call'} of {sample.service}, {sample.phase}, {sample.time}"
        )
        output.line("".join(f"  {change}\n" for change in sample.changes) + f"  {sample.sentence}")
    _print_skipped(report, output)


def _rule(row: dict[str, Any]) -> str:
    return f"{row['policy']}/{row['rule']}"


def _print_skipped(report: Report, output: Output) -> None:
    if not report.undecided:
        return
    output.line(f"\n{counted(report.undecided, 'line')} not decided")
    for why, one in report.skipped.items():
        first = "; ".join(f"{place} ({detail})" if detail else place for place, detail in one.places)
        more = "; …" if one.count > len(one.places) else ""
        output.line(f"  {one.count}  {why}: {first}{more}")
