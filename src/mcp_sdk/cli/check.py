"""``mcpctl check``: diagnose an installation, or ask what would refuse were the control plane gone."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from mcp_sdk.cli.command import FAILED, OK, Command
from mcp_sdk.cli.output import Output
from mcp_sdk.cli.plane import add_store, configured, connected

__all__ = ["COMMAND"]

DOWN = "control-plane-down"
SIGNS = {"ok": "ok  ", "warning": "warn", "error": "FAIL"}


def _configure(parser: ArgumentParser) -> None:
    parser.add_argument("--assume", choices=[DOWN], help="list the operations that would refuse then")
    parser.add_argument(
        "--travels",
        action="append",
        default=[],
        metavar="MODEL",
        help="with --assume: callers always send this model's context along (repeat it for more)",
    )
    add_store(parser)


def _run(args: Namespace, output: Output) -> int:
    return _assumed_down(args, output) if args.assume else _diagnosed(args, output)


def _diagnosed(args: Namespace, output: Output) -> int:
    from mcp_sdk.cli.diagnosis import WRONG, diagnose  # noqa: PLC0415 - its load is for this verb alone

    findings = []
    for finding in diagnose(configured(args)):
        findings.append(finding)
        if not output.for_machines:
            output.line(f"{SIGNS[finding.severity]}  {finding.check.ljust(12)}  {finding.found}")
            if finding.mend:
                output.line(f"{' ' * 20}{finding.mend}")
    wrong = [finding for finding in findings if finding.severity == WRONG]
    if output.for_machines:
        output.data({"well": not wrong, "findings": [finding.to_dict() for finding in findings]})
    return FAILED if wrong else OK


def _assumed_down(args: Namespace, output: Output) -> int:
    from mcp_sdk.cli.entities import model_of  # noqa: PLC0415 - as above
    from mcp_sdk.policy.outage import lost_rules  # noqa: PLC0415 - as above

    with connected(args) as mesh:
        snapshot = mesh.control_plane.snapshot()
        travelling = [model_of(mesh, name).name for name in args.travels]
    found = list(lost_rules(snapshot.programs, snapshot.models, travelling=travelling))
    number = len(snapshot.programs.get("policies", ()))
    if output.for_machines:
        output.data({"revision": snapshot.revision, "policies": number, "refuse": [each.to_dict() for each in found]})
    elif found:
        rows = [[each.service, each.operation, each.policy, each.rule, each.why] for each in found]
        output.table(["service", "operation", "policy", "rule", "why"], rows)
        never = sorted({fact for each in found for fact in each.never})
        if never:
            output.say(f"these never travel with a call, whoever makes it: {', '.join(never)}")
    else:
        output.line(f"no policy of revision {snapshot.revision} would refuse for want of a context; it has {number}")
    return FAILED if found else OK


COMMAND = Command(
    name="check",
    summary="diagnose an installation, each finding with its mend",
    description="""\
Diagnose an installation from here to the store: is the control plane reached,
do clocks, versions and keys agree, can the store be written, is a context that
one side signs believed by the other. Exit status 1 where something is wrong.

  mcpctl check -s sqlite:///mesh.db
  mcpctl check -o json -s https://mesh.internal

--assume control-plane-down lists every operation of the policies in force that
would refuse while contexts cannot be fetched, with the rule and why. What a
caller brings along is there still: say it with --travels.

  mcpctl check --assume control-plane-down -s sqlite:///mesh.db
  mcpctl check --assume control-plane-down --travels order \\
    -s https://mesh.internal
""",
    configure=_configure,
    run=_run,
)
