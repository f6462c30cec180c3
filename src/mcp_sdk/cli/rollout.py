"""``mcpctl rollout``: a policy change that goes to a share of decisions before it goes to all."""

from __future__ import annotations

import re
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from mcp_sdk.cli.apply import Heed, compiled
from mcp_sdk.cli.asking import add_server, ask, require_reason, scope_of, seconds
from mcp_sdk.cli.command import ABNORMAL, FAILED, OK, Command, WrongUsage
from mcp_sdk.cli.following import following
from mcp_sdk.cli.output import Output
from mcp_sdk.cli.plane import connected
from mcp_sdk.cli.publishing import outrun
from mcp_sdk.cli.sources import read_policies
from mcp_sdk.clients.api import COMPILING
from mcp_sdk.exceptions import ProtocolError, RevisionConflict
from mcp_sdk.rollout import Counts, Limits, Plan, Rollout, Stage

__all__ = ["COMMAND"]

PATH = "/v1/rollouts"
LOOK = 1.0
STAGES = "shadow:10m,5%:10m,25%:10m"
EXAMPLE = f"Write them like --stages {STAGES}"


def _configure(parser: ArgumentParser) -> None:
    verbs = parser.add_subparsers(metavar="ACTION", required=True)
    start = verbs.add_parser("start", help="begin to roll policy files out")
    start.add_argument("paths", nargs="+", metavar="PATH", help="policy files, or folders of *.yaml: the whole set")
    start.add_argument(
        "--stages",
        default=STAGES,
        metavar="LIST",
        help=f"shares of decisions, and for how long (default: {STAGES})".replace("%", "%%"),
    )
    start.add_argument("--max-refusals", default="1%", metavar="P", help="stop where so much more is refused (1%%)")
    start.add_argument("--max-errors", default="1%", metavar="P", help="stop where so much more calls fail (1%%)")
    start.add_argument("--minimum", type=int, default=100, metavar="N", help="decisions that a stage needs (100)")
    start.add_argument("--replaces", type=int, metavar="REV", help="the revision that these files were made from")
    start.set_defaults(act=_start)
    status = verbs.add_parser("status", help="show how far it is, and what was counted")
    status.add_argument(
        "--watch", action="store_true", help="go on until it ends; 1 where it was stopped, 3 where there is none"
    )
    status.set_defaults(act=_status)
    advance = verbs.add_parser("advance", help="go on to the next stage now")
    advance.set_defaults(act=_advance)
    stop = verbs.add_parser("stop", help="forget it: what is in force decides all again")
    stop.add_argument("--reason", required=True, help="why; status and the audit log show it")
    stop.set_defaults(act=_stop)
    for each in (start, status, advance, stop):
        add_server(each, scope=True)


def _start(args: Namespace, output: Output) -> int:
    plan = _plan(args)
    replaces = _in_force(args) if args.replaces is None else args.replaces
    sources = read_policies(args.paths)
    heed = Heed(sources, output)
    with connected(args) as mesh:  # the server compiles too, and tells of errors alone
        compiled(mesh, sources, mesh.control_plane.snapshot().models, heed)
    wanted = {"sources": sources, "replaces": replaces, **plan.to_dict()}
    said = _begun(args, wanted, output)
    if output.for_machines:
        output.data(heed.beside(said))
    elif "change" in said:
        output.line(f"{said['change']} waits: {said['detail']}")
    else:
        rollout = Rollout.from_dict(said["rollout"])
        output.line(f"{rollout.id} begins with {rollout.at}, over revision {rollout.base}")
        output.say(f"follow it with: {following('mcpctl rollout status --watch', args)}")
    return OK


def _begun(args: Namespace, wanted: Mapping[str, Any], output: Output) -> Any:
    """Have a rollout begin; raises ``StoreError`` that says who published since the revision that it is to replace."""
    try:
        with output.waiting("compiling policies"):
            return ask(args, "POST", PATH, json=wanted, params=scope_of(args), patience=COMPILING)
    except RevisionConflict as error:
        with connected(args) as mesh:
            raise outrun(mesh, error.expected, error.actual, then="roll them out") from error


def _in_force(args: Namespace) -> int:
    found = ask(args, "GET", "/v1/policies", params={"limit": 1, **scope_of(args)})["revisions"]
    return int(found[0]["revision"]) if found else 0


def _plan(args: Namespace) -> Plan:
    try:
        limits = Limits(_part(args.max_refusals), _part(args.max_errors), args.minimum)
        return Plan(tuple(_stage(text) for text in args.stages.split(",")), limits)
    except ProtocolError as error:
        raise WrongUsage(f"{error}. {EXAMPLE}") from error


def _stage(text: str) -> Stage:
    share, _, length = text.strip().partition(":")
    if not length:
        raise WrongUsage(f"the stage {text!r:.40} does not say for how long. {EXAMPLE}")
    return Stage(0.0 if share == "shadow" else _part(share), seconds(length))


def _part(text: str) -> float:
    found = re.fullmatch(r"(\d{1,3}(?:\.\d{1,6})?)%", text)
    if found is None or not float(found[1]) <= 100:
        raise WrongUsage(f"{text!r:.40} is no share. Write it like 5%, from 0% to 100%")
    return float(found[1]) / 100


def _status(args: Namespace, output: Output) -> int:
    said = ask(args, "GET", PATH, params=scope_of(args))
    shown = None
    while args.watch and _running(said):
        if (news := (said["rollout"], said["counts"])) != shown:  # that time goes by is no news
            _show(args, said, output)
            output.out.flush()
        shown = news
        time.sleep(LOOK)
        said = ask(args, "GET", PATH, params=scope_of(args))
    _show(args, said, output)
    return _ended(said["rollout"]) if args.watch else OK


def _running(said: Mapping[str, Any]) -> bool:
    return said["rollout"] is not None and Rollout.from_dict(said["rollout"]).running


def _ended(rollout: Mapping[str, Any] | None) -> int:
    if rollout is None:
        return ABNORMAL
    return FAILED if rollout["status"] in ("stopped", "superseded") else OK


def _show(args: Namespace, said: Mapping[str, Any], output: Output) -> None:
    if output.for_machines:
        output.record(_plain(said) | ({"counts": _counters(said["counts"])} if _running(said) else {}))
    elif said["rollout"] is None:
        begin = following("mcpctl rollout start policies/", args)
        where = "{namespace}/{environment}".format(**scope_of(args))
        output.line(f"no policy change was rolled out in {where} yet. Begin one with: {begin}")
    else:
        rollout = Rollout.from_dict(said["rollout"])
        tell = output.line if rollout.held else output.sentence  # it then ends with a command to copy
        tell(_headline(rollout, str(said.get("waits_for", ""))))
        counts = [*rollout.history, *([Counts.from_dict(said["counts"])] if rollout.running else [])]
        _count([_row(rollout, number, each) for number, each in enumerate(counts)], output)


def _plain(said: Mapping[str, Any]) -> dict[str, Any]:
    """Give an answer of the server with every counter of each stage, also those that it left out for they are 0."""
    if said["rollout"] is None:
        return {**said}
    history = [_counters(each) for each in said["rollout"]["history"]]
    return {**said, "rollout": {**said["rollout"], "history": history}}


def _counters(plain: Any) -> dict[str, int]:
    return asdict(Counts.from_dict(plain))


def _count(rows: Sequence[Sequence[str]], output: Output) -> None:
    """Print a line for each stage, or three where a terminal is too narrow for one."""
    if output.fits(_COLUMNS, rows):
        output.table(_COLUMNS, rows)
        return
    for stage, decisions, refused, refuses, newly, permitted, errors, fails in rows:
        output.line(f"{stage}: {decisions} decisions, {newly} newly refused, {permitted} newly permitted")
        output.line(f"  refused {refused}, by the candidate {refuses}")
        output.line(f"  errors {errors}, of the candidate {fails}")


_COLUMNS = (
    "stage",
    "decisions",
    "refused",
    "candidate refuses",
    "newly refused",
    "newly permitted",
    "errors",
    "candidate errors",
)


def _row(rollout: Rollout, number: int, counts: Counts) -> list[str]:
    return [
        str(rollout.plan.stages[number]),
        str(counts.decisions),
        _of(counts.current_refusals, counts.decisions),
        _of(counts.candidate_refusals, counts.decisions),
        str(counts.newly_refused),
        str(counts.newly_permitted),
        _of(counts.current_errors, counts.current_calls),
        _of(counts.candidate_errors, counts.candidate_calls) if not counts.faults else f"{counts.faults} failed",
    ]


def _of(count: int, total: int) -> str:
    return f"{count} ({count / total:.2%})" if total else "-"


def _headline(rollout: Rollout, waits: str) -> str:
    what = f"{rollout.id} by {rollout.author}, over revision {rollout.base}"
    if not rollout.running:
        return f"{what}: {rollout.status}, {rollout.reason}"
    if rollout.held:
        return f"{what}: held at {rollout.at}, {rollout.reason}"
    since = datetime.now(UTC) - datetime.fromisoformat(rollout.since)
    return f"{what}: {rollout.at} since {since.total_seconds():.0f} s" + (f"; {waits}" if waits else "")


def _advance(args: Namespace, output: Output) -> int:
    return _tell(ask(args, "POST", f"{PATH}/advance", params=scope_of(args)), output)


def _stop(args: Namespace, output: Output) -> int:
    require_reason(args.reason)
    said = ask(args, "POST", f"{PATH}/stop", json={"reason": args.reason}, params=scope_of(args))
    return _tell(said, output)


def _tell(said: Mapping[str, Any], output: Output) -> int:
    rollout = Rollout.from_dict(said["rollout"])
    if output.for_machines:
        output.data(_plain(said))
    elif rollout.held:
        output.line(f"{rollout.id} is held at {rollout.at}: {rollout.reason}")
    elif rollout.running:
        output.line(f"{rollout.id} goes on with {rollout.at}")
    else:
        output.line(f"{rollout.id} is {rollout.status}: {rollout.reason}")
    return FAILED if rollout.held else OK


def _run(args: Namespace, output: Output) -> int:
    return int(args.act(args, output))


COMMAND = Command(
    name="rollout",
    summary="put a policy change in force stage by stage, and stop it where it harms",
    description="""\
A rollout evaluates the files for every decision, first enforcing none (shadow),
then a growing share of them, then all. It stops by itself where more is refused
or fails than before. What is in force stays until the last stage is over.
Warnings, as mcpctl policy check has them, are shown when it starts, and stop
nothing.

  mcpctl rollout start policies/ -s https://mesh.internal
  mcpctl rollout start policies/ --max-refusals 0.1% \\
    --stages shadow:1h,1%:1h,10%:1h,50%:1h
  mcpctl rollout status --watch        until it ends; 1 where it was stopped
  mcpctl rollout advance               go on now; 1 where an approval is needed
  mcpctl rollout stop --reason "support is flooded"
""",
    configure=_configure,
    run=_run,
)
