"""The verb ``mcpctl demo``."""

from __future__ import annotations

import time
from argparse import ArgumentParser, Namespace
from contextlib import suppress
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from mcp_sdk.cli.command import ABNORMAL, FAILED, OK, Command
from mcp_sdk.cli.output import Output
from mcp_sdk.cli.sources import read_models, read_policies
from mcp_sdk.exceptions import PolicyError
from mcp_sdk.policy import compile_policies
from mcp_sdk_demo.crowd import Load
from mcp_sdk_demo.expect import Check, checks
from mcp_sdk_demo.fleet import Fleet, ServiceFailed
from mcp_sdk_demo.interrupts import Interrupted, stoppable
from mcp_sdk_demo.keep import VISITORS, tries
from mcp_sdk_demo.plane import PLANES
from mcp_sdk_demo.report import plain, show
from mcp_sdk_demo.stage import Stage
from mcp_sdk_demo.traffic import planned

__all__ = ["COMMAND"]

DESCRIPTION = """\
Start a shop of eight processes, send it traffic, and tell what its policies
did.

A gateway, an order service in two versions and on faster machines, inventory,
payment and recommendation run on free loopback ports over one SQLite file. New
orders go to v2, VIP users to faster machines, large orders are split and stay
where they are; a risky payment needs a second factor, a region is refused, a
burst is throttled.

  mcpctl demo shop                    run it, and print what each rule did
  mcpctl demo shop -o json            the checks, for a machine
  mcpctl demo shop --policies mine/   hold your own files to the same checks
  mcpctl demo shop --control-plane http
                                      the same, over a control-plane server
  mcpctl demo shop --keep             leave it running, with lines to try

The exit status is 0 where every check passed.
"""


def _configure(parser: ArgumentParser) -> None:
    parser.add_argument("name", choices=("shop",), help="which demo")
    parser.add_argument("--policies", metavar="DIR", help="policy files to run on instead of the shop's own")
    parser.add_argument(
        "--control-plane", choices=PLANES, default="sqlite", help="one file that all open, or a server (mcpctl serve)"
    )
    parser.add_argument("--keep", action="store_true", help="leave the shop running until Ctrl-C")


def _run(args: Namespace, output: Output) -> int:
    try:
        with stoppable() as asked_to_stop:
            status = _shop(args, output)
    except Interrupted as asked:
        status = asked.status
    else:
        if not args.keep:
            return asked_to_stop.status or status
    output.say("stopped; no process is left")
    return status


def _shop(args: Namespace, output: Output) -> int:
    with as_file(files("mcp_sdk_demo") / "policies") as shipped:
        chosen = Path(args.policies) if args.policies else shipped
        sources = read_policies([str(chosen)])
        models = {**read_models([str(shipped)]), **read_models([str(chosen)])}
    try:
        programs = compile_policies(sources, models)
    except PolicyError as error:
        return _fail("policies: they compile", [str(finding) for finding in error.findings], output, FAILED)
    with Stage(args.control_plane) as stage:
        output.say(f"starting {len(stage.fleet)} processes …")
        stage.put_in_force(programs, sources)
        try:
            stage.open_shop()
            return _trade(stage, args, output)
        except ServiceFailed as error:
            return _fail("services: they run", str(error).splitlines(), output, ABNORMAL)


def _trade(stage: Stage, args: Namespace, output: Output) -> int:
    load = Load()
    with output.progress("trading", planned(load)) as advance:
        seen = stage.trade(load, advance)
    judged = checks(seen, load)
    extra = _kept(stage) if args.keep else {}
    if output.for_machines:
        output.data(plain(seen, judged) | extra)
    else:
        show(seen, judged, output)
        _show_kept(extra, output)
    if args.keep:
        _wait(stage.fleet, output)
    return OK if all(check.passed for check in judged) else FAILED


def _fail(check: str, lines: list[str], output: Output, status: int) -> int:
    if output.for_machines:
        output.data({"passed": False, "checks": [Check(check, [], lines, passed=False).to_dict()]})
    else:
        for line in lines:
            output.line(line)
    return status


def _kept(stage: Stage) -> dict[str, Any]:
    stage.welcome(VISITORS)
    commands = tries(stage.fleet.urls["gateway"], stage.directory, stage.accounts)
    listed = [{"shows": each.shows, "command": each.command} for each in commands]
    plane = stage.plane
    token = f"MCP_SDK_TOKEN={plane.operator} " if plane.operator else ""
    ask = f"{token}mcpctl get order --state shipped -n shop -s {plane.url}"
    return {"addresses": dict(stage.fleet.urls), "control_plane": plane.url, "ask": ask, "try": listed}


def _show_kept(kept: dict[str, Any], output: Output) -> None:
    if kept:
        output.line()
        output.table(("instance", "address"), kept["addresses"].items(), title="Still running")
        output.line(f"\nAsk the mesh:\n  {kept['ask']}\n\nTry:")
        for each in kept["try"]:
            output.line(f"  # {each['shows']}\n  {each['command']}")


def _wait(fleet: Fleet, output: Output) -> None:
    output.out.flush()
    output.say("Ctrl-C ends it")
    with suppress(Interrupted):
        while True:
            time.sleep(1)
            fleet.check()


COMMAND = Command("demo", "watch a shop of eight processes route, refuse and throttle", DESCRIPTION, _configure, _run)
