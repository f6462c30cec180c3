"""``mcpctl policy check``: find mistakes in policy files."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mcp_sdk.cli.command import FAILED, OK
from mcp_sdk.cli.output import Output
from mcp_sdk.cli.policy.report import SHOWN, plain_finding
from mcp_sdk.cli.policy.report import report as lines
from mcp_sdk.cli.policy.verb import Verb, add_output, add_paths, counted
from mcp_sdk.cli.sources import read_declarations, read_models, read_policies
from mcp_sdk.exceptions import PolicyError
from mcp_sdk.models import BusinessModel

if TYPE_CHECKING:
    from mcp_sdk.policy.findings import Report

__all__ = ["VERB"]

SEVERITIES = ("error", "warning", "note")


def _configure(parser: ArgumentParser) -> None:
    add_paths(parser)
    parser.add_argument(
        "--fail-on", choices=SEVERITIES, default="error", help="the least finding that fails (default: error)"
    )
    parser.add_argument("--all", action="store_true", help=f"print every finding, not {SHOWN} of a kind for each file")
    add_output(parser, "sarif")


def _run(args: Namespace, output: Output) -> int:
    from mcp_sdk.policy import report_on  # noqa: PLC0415 - the compiler is an extra
    from mcp_sdk.policy.findings import Report  # noqa: PLC0415 - as above

    sources, declarations = read_policies(args.paths), read_declarations(args.paths)
    models: Mapping[str, BusinessModel] = {}
    try:
        models = read_models(args.paths)
        report, mended = report_on(sources, models, declarations=declarations), True
    except PolicyError as error:
        report, mended = Report(error.findings), False
    if args.output == "sarif":
        from mcp_sdk.cli.policy.sarif import sarif  # noqa: PLC0415 - as above

        output.data(sarif(report, sources | declarations))
    elif output.for_machines:
        output.data(_plain(report, sources))
    else:
        _print(report, sources | declarations, output, everything=args.all)
        output.say(_counts(report, len(sources)))
        if not mended:
            output.say("the policies are checked once the models are mended")
        elif not models and any(finding.code == "MCP0021" for finding in report.findings):
            output.say("no model is declared here: list them under 'models:' in a models.yaml beside the policies")
    return FAILED if _fails(report, args.fail_on) else OK


def _fails(report: Report, least: str) -> bool:
    """Tell whether a finding is as bad as ``least``; those past the bound may be anything but errors."""
    worst = SEVERITIES[: SEVERITIES.index(least) + 1]
    return any(finding.severity in worst for finding in report.findings) or (report.left_out > 0 and least != "error")


def _plain(report: Report, sources: Mapping[str, str]) -> dict[str, Any]:
    findings = [plain_finding(finding) for finding in report.findings]
    return {"files": sorted(sources), "findings": findings, "left_out": report.left_out}


def _print(report: Report, sources: Mapping[str, str], output: Output, *, everything: bool) -> None:
    for line in lines(report.findings, sources, everything=everything):
        output.line(line)
    if report.left_out:
        bound = f"{report.left_out:,} more findings are over the bound of {len(report.findings):,}; mend these first"
        output.line(bound.replace(",", " "))


def _counts(report: Report, files: int) -> str:
    found = Counter(finding.severity for finding in report.findings)
    return f"{counted(files, 'file')}: {', '.join(counted(found[kind], kind) for kind in SEVERITIES)}"


VERB = Verb(
    name="check",
    summary="find mistakes in policy files, each with file:line:column",
    examples="""\
  mcpctl policy check policies/                     each finding, and its mend
  mcpctl policy check policies/ --fail-on warning   for continuous integration
  mcpctl policy check policies/ -o json             for programs
  mcpctl policy check policies/ -o sarif > policies.sarif
                                                    for code scanners
""",
    configure=_configure,
    run=_run,
)
