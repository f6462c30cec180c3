"""``mcpctl policy check``: find mistakes in policy files."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import Any

from mcp_sdk.cli.command import FAILED, OK
from mcp_sdk.cli.output import Output
from mcp_sdk.cli.policy.verb import Verb, add_output, add_paths, counted
from mcp_sdk.cli.sources import read_models, read_policies
from mcp_sdk.exceptions import Finding

__all__ = ["VERB"]

SEVERITIES = ("error", "warning", "note")


def _configure(parser: ArgumentParser) -> None:
    add_paths(parser)
    parser.add_argument(
        "--fail-on", choices=SEVERITIES, default="error", help="the least finding that fails (default: error)"
    )
    add_output(parser)


def _run(args: Namespace, output: Output) -> int:
    from mcp_sdk.policy import check_policies  # noqa: PLC0415 - the compiler is an extra

    sources = read_policies(args.paths)
    models = read_models(args.paths)
    findings = tuple(check_policies(sources, models))
    if output.for_machines:
        output.data({"files": sorted(sources), "findings": [_plain(finding) for finding in findings]})
    else:
        _print(findings, len(sources), output)
        if not models and any(finding.code == "MCP0021" for finding in findings):
            output.say("no model is declared here: list them under 'models:' in a models.yaml beside the policies")
    worst = SEVERITIES[: SEVERITIES.index(args.fail_on) + 1]
    return FAILED if any(finding.severity in worst for finding in findings) else OK


def _plain(finding: Finding) -> dict[str, Any]:
    return {name: getattr(finding, name) for name in ("code", "severity", "message", "file", "line", "column")}


def _print(findings: tuple[Finding, ...], files: int, output: Output) -> None:
    for finding in findings:
        output.line(str(finding))
    counts = (counted(sum(finding.severity == kind for finding in findings), kind) for kind in SEVERITIES)
    output.say(f"{counted(files, 'file')}: {', '.join(counts)}")


VERB = Verb(
    name="check",
    summary="find mistakes in policy files, each with file:line:column",
    examples="""\
  mcpctl policy check policies/                     every finding with its place, and how to mend it
  mcpctl policy check policies/ --fail-on warning   for continuous integration
  mcpctl policy check policies/ -o json             for programs
""",
    configure=_configure,
    run=_run,
)
