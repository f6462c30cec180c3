"""What can be said of checked policies beyond types: rules that never speak, contradict or err, and idle declarations.

It claims a rule dead only when that is certain, for a call of any kind and facts of their declared types. Rules are
compared within bounds (see ``rivals`` and ``targets``); what lies beyond them is not claimed. Each finding has a code
of its own, see ``findings``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from mcp_sdk.models import BusinessModel
from mcp_sdk.policy.analysis.declared import check_attributes, check_models, check_states, check_values, unreachable
from mcp_sdk.policy.analysis.hazards import check_hazards
from mcp_sdk.policy.analysis.overlaps import check_overlaps
from mcp_sdk.policy.analysis.study import Studied, Study
from mcp_sdk.policy.analysis.targets import check_operations, check_rank, check_refusals
from mcp_sdk.policy.cel.syntax import walk
from mcp_sdk.policy.check import Checked
from mcp_sdk.policy.findings import Collector
from mcp_sdk.policy.program import CheckedPolicy
from mcp_sdk.policy.source.resources import Policy

__all__ = ["analyze"]


def analyze(
    policies: Iterable[CheckedPolicy],
    models: Mapping[str, BusinessModel],
    findings: Collector,
    *,
    declarations: Mapping[str, str],
) -> None:
    """Report on policies together; rules that did not check are passed over.

    ``declarations`` are the texts that declare the models, by file, for findings on those; it may be empty.
    """
    study = Study(models)
    idle = {name: states for name, model in models.items() if (states := unreachable(model))}
    studied: list[tuple[Policy, Sequence[Studied]]] = []
    for policy, checked in policies:
        rules = list(study.rules(policy, checked))
        studied.append((policy, rules))
        _analyze_policy(policy, rules, study, findings)
        _analyze_expressions(policy, checked, idle, study, findings)
    if findings.failures == 0:
        check_refusals(studied, study, findings)
        check_rank(studied, study, findings)
    check_models(declarations, models, findings)


def _analyze_policy(policy: Policy, rules: Sequence[Studied], study: Study, findings: Collector) -> None:
    check_operations(policy, findings)
    check_overlaps(policy, rules, study, findings)
    for one in rules:
        check_hazards(one, study, findings)
        check_values(one, study, findings)


def _analyze_expressions(
    policy: Policy,
    checked: Mapping[int, Checked],
    idle: Mapping[str, tuple[str, ...]],
    study: Study,
    findings: Collector,
) -> None:
    for expression in checked.values():
        check_states(expression, policy, idle, findings)
        check_attributes(expression, study.models, findings)
    if findings.failures == 0:
        _unused_constants(policy, checked.values(), findings)


def _unused_constants(policy: Policy, checked: Iterable[Checked], findings: Collector) -> None:
    """Report constants that no expression names; numbers have been written out by patches by now."""
    unused = dict.fromkeys(policy.constants)
    for expression in checked if unused else ():
        for patch in expression.patches:
            unused.pop(expression.condition.text[patch.offset : patch.offset + patch.length], None)
        for node in walk(expression.tree):
            if node.kind == "name":
                unused.pop(node.value, None)
    for name in unused:
        message = f"constant {name!r} of {policy.name!r} is never used"
        findings.report("MCP0116", message, policy.places.get(name, policy.at))
