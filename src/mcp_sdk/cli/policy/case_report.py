"""Prints a run of cases for eyes, bounded however much is wrong."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from mcp_sdk.cli.output import Output
from mcp_sdk.cli.policy.case_run import CaseRun, Ran
from mcp_sdk.cli.policy.verb import counted

if TYPE_CHECKING:
    from mcp_sdk.policy.testing.coverage import Coverage, RuleTried

__all__ = ["print_run"]

SHOWN = 20


def print_run(run: CaseRun, output: Output, *, verbose: bool) -> None:
    """Print findings or failing cases, twenty at most, then coverage and a line that sums it up."""
    _bounded((f"{finding}" for finding in run.findings), len(run.findings), "finding", output)
    if verbose:
        for one in run.ran:
            output.line(f"{'pass' if one.verified.passed else 'FAIL'}  {one.verified.case.title}")
    _bounded(map(_failure, run.failed), len(run.failed), "failing case", output)
    if run.coverage is not None:
        _print_coverage(run.coverage, output)
    output.say(_summary(run))


def _bounded(texts: Iterable[str], number: int, noun: str, output: Output) -> None:
    for _, text in zip(range(SHOWN), texts, strict=False):
        output.line(text)
    if number > SHOWN:
        output.line(f"… and {counted(number - SHOWN, noun)} more; -o json has all")


def _failure(one: Ran) -> str:
    return "\n  ".join((f"FAIL  {one.verified.case.title}", *one.lines))


def _summary(run: CaseRun) -> str:
    if run.findings:
        return f"{counted(len(run.findings), 'finding')}; no case was run"
    failed = len(run.failed)
    said = f"{counted(len(run.ran), 'case')} in {counted(len(run.files), 'file')}: "
    said += f"{len(run.ran) - failed} passed, {failed} failed"
    if run.coverage is None:
        return said
    total = run.coverage.counted().total
    under = "" if run.covered else f", under the {run.fail_under:g} % that are asked for"
    return f"{said}; {total} covered{under}"


def _print_coverage(coverage: Coverage, output: Output) -> None:
    columns = ("policy", "rule", "spoke", "matched", "values", "never tried")
    output.table(columns, [_row(rule) for rule in coverage.rules])
    counts = coverage.counted()
    output.line(f"\nrules {counts.rules}, defaults {counts.defaults}, values of conditions {counts.values}")


def _row(rule: RuleTried) -> Sequence[object]:
    if not rule.rule:
        return (rule.policy, "default", rule.spoke, "", "", "" if rule.spoke else "it never spoke")
    total = sum(part.values for part in rule.parts)
    missing = [f"{part.text} was never {' or '.join(part.untried)}" for part in rule.parts if part.untried]
    if not rule.spoke:
        missing = ["it never spoke", *missing] if rule.called else ["no case calls what it governs"]
    tried = total - sum(len(part.untried) for part in rule.parts)
    return (rule.policy, rule.rule, rule.spoke, rule.matched, f"{tried}/{total}", "; ".join(missing))
