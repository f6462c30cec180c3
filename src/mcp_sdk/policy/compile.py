"""Sources → programs: the way through all stages, and every finding on it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mcp_sdk.exceptions import Finding, PolicyError
from mcp_sdk.models import BusinessModel
from mcp_sdk.policy.analysis.analyze import analyze
from mcp_sdk.policy.check import Checked, Checker
from mcp_sdk.policy.findings import Collector, Report
from mcp_sdk.policy.program import CheckedPolicy, build_program
from mcp_sdk.policy.source.parse import check_names, read_resources
from mcp_sdk.policy.source.resources import Condition, LimitRule, Policy, Rule, TrafficPolicy, TrafficRoute, TrafficRule

__all__ = ["check_policies", "compile_and_report", "compile_policies", "report_on", "require_namespace"]


def compile_policies(
    sources: Mapping[str, str], models: Mapping[str, BusinessModel], *, namespace: str = "default"
) -> dict[str, Any]:
    """Compile YAML policies, by file name, to a program (plain JSON; see ``mcp_sdk.policy.program``).

    ``namespace`` is that of policies which name none.

    Raises ``PolicyError`` with every finding of severity error, each with file, line and column; ``MissingExtra`` when
    cel-expr-python or PyYAML is not installed.
    """
    findings = Collector()
    return _built(_check(sources, models, findings, namespace), findings)


def compile_and_report(
    sources: Mapping[str, str],
    models: Mapping[str, BusinessModel],
    *,
    namespace: str = "default",
    declarations: Mapping[str, str] | None = None,
) -> tuple[dict[str, Any], Report]:
    """Do what ``compile_policies`` does, and give what ``report_on`` finds on policies that compile, too."""
    findings = Collector()
    checked = _check(sources, models, findings, namespace)
    programs = _built(checked, findings)
    analyze(checked, models, findings, declarations=declarations or {})
    return programs, Report(findings.sorted(), findings.left_out)


def _built(checked: list[CheckedPolicy], findings: Collector) -> dict[str, Any]:
    if findings.failures:
        raise PolicyError(finding for finding in findings.sorted() if finding.severity == "error")
    return build_program(checked)


def require_namespace(programs: Mapping[str, Any], namespace: str) -> None:
    """Raise ``PolicyError`` for policies of another namespace: in force in this one they would govern nothing."""
    strangers = [each for each in programs.get("policies", ()) if each["namespace"] != namespace]
    if strangers:
        raise PolicyError(_stranger(each, namespace) for each in strangers)


def _stranger(policy: Mapping[str, Any], namespace: str) -> Finding:
    message = (
        f"{policy['kind']} {policy['name']!r} is of namespace {policy['namespace']!r}, "
        f"and would govern nothing in {namespace!r}"
    )
    return Finding("MCP0012", message, policy["file"], policy["line"], 1)


def check_policies(sources: Mapping[str, str], models: Mapping[str, BusinessModel]) -> tuple[Finding, ...]:
    """Give every finding on YAML policies, warnings too, by place; empty when there is nothing to say."""
    return report_on(sources, models).findings


def report_on(
    sources: Mapping[str, str], models: Mapping[str, BusinessModel], *, declarations: Mapping[str, str] | None = None
) -> Report:
    """Give every finding on YAML policies, warnings too, by place, up to a bound.

    ``declarations`` are the YAML texts that declare the models, by file name: findings on models stand in them.
    """
    findings = Collector()
    checked = _check(sources, models, findings)
    analyze(checked, models, findings, declarations=declarations or {})
    return Report(findings.sorted(), findings.left_out)


def _check(
    sources: Mapping[str, str],
    models: Mapping[str, BusinessModel],
    findings: Collector,
    namespace: str = "default",
) -> list[CheckedPolicy]:
    policies = [
        policy
        for file in sorted(sources)
        for policy in read_resources(sources[file], file, models, findings, namespace)
    ]
    check_names(policies, findings)
    checker = Checker(models, findings)
    return [(policy, _check_policy(policy, checker)) for policy in policies]


def _check_policy(policy: Policy, checker: Checker) -> dict[int, Checked]:
    checked: dict[int, Checked] = {}
    for condition, want in _conditions(policy):
        result = checker.check(condition, policy.constants, want)
        if result is not None:
            checked[id(condition)] = result
    return checked


def _conditions(policy: Policy) -> Iterator[tuple[Condition, str]]:
    rules: tuple[Rule, ...] = getattr(policy, "rules", ())
    for rule in rules:
        yield rule.when, "bool"
        if isinstance(rule, TrafficRule):
            yield from _sticky(rule.route)
        if isinstance(rule, LimitRule) and rule.key is not None:
            yield rule.key, "string"
    if isinstance(policy, TrafficPolicy) and policy.default is not None:
        yield from _sticky(policy.default)


def _sticky(route: TrafficRoute) -> Iterator[tuple[Condition, str]]:
    if route.sticky is not None:
        yield route.sticky, "string"
