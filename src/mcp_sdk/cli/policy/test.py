"""``mcpctl policy test``: verify cases that stand beside the policies."""

from __future__ import annotations

import re
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mcp_sdk.cli.command import FAILED, OK, USAGE
from mcp_sdk.cli.output import Output
from mcp_sdk.cli.policy.case_report import print_run
from mcp_sdk.cli.policy.case_run import CaseRun, run_cases
from mcp_sdk.cli.policy.junit import junit_xml
from mcp_sdk.cli.policy.lcov import lcov
from mcp_sdk.cli.policy.verb import Verb, add_output, add_paths
from mcp_sdk.cli.sources import CASE_ENDINGS, read_case_files, read_models, read_policies
from mcp_sdk.exceptions import PolicyError

if TYPE_CHECKING:
    from mcp_sdk.policy.testing.cases import Case

__all__ = ["VERB"]


def _configure(parser: ArgumentParser) -> None:
    add_paths(parser)
    add_output(parser)
    parser.add_argument("--run", type=_pattern, metavar="PATTERN", help="only cases whose FILE: NAME it is found in")
    parser.add_argument("-v", "--verbose", action="store_true", help="list the cases that pass as well")
    parser.add_argument("--coverage", action="store_true", help="show which rules spoke, and what was never tried")
    parser.add_argument("--fail-under", type=_percent, metavar="PERCENT", help="fail when less is covered; 0 to 100")
    parser.add_argument("--junit", metavar="FILE", help="write the results as JUnit XML")
    parser.add_argument("--lcov", metavar="FILE", help="write the coverage as lcov")


def _pattern(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error as error:
        raise ArgumentTypeError(f"{text!r} is no regular expression: {error}") from error


def _percent(text: str) -> float:
    try:
        percent = float(text)
    except ValueError:
        percent = -1.0
    if not 0 <= percent <= 100:
        raise ArgumentTypeError(f"{text!r} is no percentage from 0 to 100")
    return percent


def _run(args: Namespace, output: Output) -> int:
    files = read_case_files(args.paths)
    if not files:
        output.say(f"no cases in {', '.join(args.paths)}; files of cases are called *{' or *'.join(CASE_ENDINGS[::2])}")
        return USAGE
    run = _verify(args, files)
    if not run.ran and not run.findings:
        output.say("no case is there" if args.run is None else f"no case matches --run {args.run.pattern!r}")
        return USAGE
    if args.junit:
        Path(args.junit).write_text(junit_xml(run), encoding="utf-8")
    if args.lcov and run.coverage is not None:
        Path(args.lcov).write_text(lcov(run.coverage), encoding="utf-8")
    if output.for_machines:
        output.data(run.to_dict())
    else:
        print_run(run, output, verbose=args.verbose)
    return OK if run.passed else FAILED


def _verify(args: Namespace, files: dict[str, str]) -> CaseRun:
    """Run the cases that are asked for; mistakes in any file keep them all from running."""
    from mcp_sdk.policy import Engine, compile_policies  # noqa: PLC0415 - the compiler is an extra
    from mcp_sdk.policy.findings import Collector  # noqa: PLC0415
    from mcp_sdk.policy.testing.cases import read_cases  # noqa: PLC0415
    from mcp_sdk.policy.testing.coverage import Coverage  # noqa: PLC0415
    from mcp_sdk.policy.testing.verify import Verifier  # noqa: PLC0415

    names, beside = tuple(sorted(files)), _beside(args.paths)
    try:
        models = read_models(beside)
        engine = Engine(compile_policies(read_policies(beside), models), models, rng=lambda: 0.0)
    except PolicyError as error:
        return CaseRun(names, tuple(error.findings))
    findings = Collector()
    cases = [case for case in read_cases(files, engine, findings) if _wanted(case, args)]
    if findings.found:
        return CaseRun(names, findings.sorted())
    asked = args.coverage or args.fail_under is not None or args.lcov
    coverage = Coverage(engine) if asked else None
    ran = run_cases(cases, Verifier(engine), coverage)
    return CaseRun(names, ran=ran, coverage=coverage, fail_under=args.fail_under or 0.0)


def _wanted(case: Case, args: Namespace) -> Any:
    return args.run is None or args.run.search(f"{case.at.file}: {case.name}")


def _beside(paths: list[str]) -> list[str]:
    """Give where the policies are: beside a file of cases, or where the path says."""
    return [str(Path(path).parent) if path.endswith(CASE_ENDINGS) else path for path in paths]


VERB = Verb(
    name="test",
    summary="verify cases that stand beside the policies",
    examples="""\
  mcpctl policy test policies/                        verify its *_test.yaml
  mcpctl policy test policies/ --run 'vip|large' -v   some of them, each listed
  mcpctl policy test policies/ --coverage             and what no case has tried
  mcpctl policy test policies/ --fail-under 90 --junit report.xml
                                                      for continuous integration
""",
    configure=_configure,
    run=_run,
)
