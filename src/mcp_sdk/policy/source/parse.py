"""YAML text → resources. Every mistake of a file is reported, not only the first."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from mcp_sdk.exceptions import ConfigurationError, did_you_mean
from mcp_sdk.models import RESERVED_NAMES, BusinessModel
from mcp_sdk.operations import OperationPattern
from mcp_sdk.policy.findings import Collector
from mcp_sdk.policy.source.fields import Fields, shown
from mcp_sdk.policy.source.reading import MapNode, Node, Scalar, read_documents
from mcp_sdk.policy.source.resources import (
    API_VERSION,
    KINDS,
    AccessPolicy,
    AccessRule,
    Condition,
    LimitRule,
    Policy,
    QosPolicy,
    QosRule,
    RateLimitPolicy,
    Rule,
    Share,
    Target,
    TrafficPolicy,
    TrafficRoute,
    TrafficRule,
)
from mcp_sdk.policy.source.route_rules import parse_route_rules
from mcp_sdk.services import Subset

__all__ = ["read_resources"]

EFFECTS = ("deny", "review", "step_up", "permit")
PRIORITIES = ("low", "normal", "high", "critical")
MAX_WEIGHT = 2**31 - 1
MAX_TOTAL = 2**32 - 1
"""What the weights of a split may add up to; Envoy refuses more."""

RuleT = TypeVar("RuleT", bound=Rule)
Models = Mapping[str, BusinessModel]


def read_resources(
    text: str, file: str, models: Models, findings: Collector, namespace: str = "default"
) -> tuple[Policy, ...]:
    """Read every policy of a YAML text; ``file`` is its name in findings, ``namespace`` of those that name none."""
    policies = []
    for document in read_documents(text, file, findings):
        if isinstance(document, Scalar) and document.value is None:
            continue
        policy = _read_policy(document, models, findings, namespace)
        if policy is not None:
            policies.append(policy)
    return tuple(policies)


def _read_policy(node: Node, models: Models, findings: Collector, namespace: str) -> Policy | None:
    if not isinstance(node, MapNode):
        findings.error("MCP0003", "a policy is a mapping with apiVersion, kind, metadata and spec", node)
        return None
    fields = Fields(node, "policy", findings)
    fields.choice("apiVersion", (API_VERSION,), API_VERSION)
    kind = fields.string("kind", required=True)
    metadata, spec = fields.mapping("metadata", required=True), fields.mapping("spec", required=True)
    fields.done()
    if kind and kind not in KINDS:
        findings.error("MCP0007", f"policy: 'kind' is {shown(kind)}.{did_you_mean(kind, KINDS)}", fields.nodes["kind"])
    if kind not in KINDS or metadata is None or spec is None:
        return None
    spec.what = f"{kind}.spec"
    return _READERS[kind](_common(node, metadata, spec, models, namespace), spec, models)


def _common(node: MapNode, metadata: Fields, spec: Fields, models: Models, namespace: str) -> dict[str, Any]:
    metadata.what = "metadata"
    common = {
        "name": metadata.identifier("name", required=True),
        "namespace": metadata.identifier("namespace", namespace),
        "target": _target(spec),
        **_constants(spec, models),
        "allow_tentative": spec.boolean("allow_tentative"),
        "shadow": spec.boolean("shadow"),
        "at": Scalar("", node.file, node.line, node.column),
    }
    metadata.done()
    return common


def _target(spec: Fields) -> Target:
    fields = spec.mapping("target", required=True)
    if fields is None:
        return Target("")
    service = fields.identifier("service", required=True)
    nodes = fields.sequence("operations")
    operations = tuple(_operation(fields, node) for node in nodes)
    fields.done()
    return Target(service, operations, tuple(nodes))


def _operation(fields: Fields, node: Node) -> str:
    if not isinstance(node, Scalar):
        fields.wrong(node, "operations", 'a list of "METHOD /path" patterns', "a list or mapping inside")
        return "*"
    try:
        OperationPattern.parse(node.text)
    except ConfigurationError as error:
        fields.findings.error("MCP0008", f"{fields.what}: {error}", node)
    return node.text


def _constants(spec: Fields, models: Models) -> dict[str, Any]:
    fields = spec.mapping("constants")
    if fields is None:
        return {}
    constants = {name: fields.value(name) for name in fields.nodes if _constant(fields, name, models)}
    return {"constants": constants, "places": fields.keys}


def _constant(fields: Fields, name: str, models: Models) -> bool:
    node = fields.keys[name]
    if not name.isidentifier() or not name.isascii() or name in RESERVED_NAMES or name in models:
        fields.findings.error("MCP0008", f"{fields.what}: {shown(name)} cannot name a constant", node)
        return False
    value = fields.value(name)
    items = value if isinstance(value, list) else [value]
    kinds = {type(item) for item in items}
    if len(kinds) <= 1 and kinds <= {str, int, float, bool}:
        return True
    wanted = "a string, number or bool, or a list of one type of them"
    fields.wrong(fields.nodes[name], name, wanted, shown(value))
    return False


def _rules(spec: Fields, read: Callable[[Fields, dict[str, Any]], RuleT | None]) -> tuple[RuleT, ...]:
    rules: dict[str, RuleT] = {}
    for number, node in enumerate(spec.sequence("rules"), 1):
        if not isinstance(node, MapNode):
            spec.wrong(node, "rules", "a list of rules", "something else inside")
            continue
        fields = Fields(node, f"{spec.what}.rules[{number}]", spec.findings)
        rule = _rule(fields, number, read)
        if rule is not None and rule.name in rules:
            spec.findings.error("MCP0010", f"{fields.what}: rule name {shown(rule.name)} is taken", rule.at)
        elif rule is not None:
            rules[rule.name] = rule
    return tuple(rules.values())


def _rule(fields: Fields, number: int, read: Callable[[Fields, dict[str, Any]], RuleT | None]) -> RuleT | None:
    name = fields.identifier("name", f"rule-{number}")
    when = fields.condition("when", required=True)
    at = Scalar("", fields.node.file, fields.node.line, fields.node.column)
    rule = read(fields, {"name": name, "when": when, "at": at})
    fields.done()
    return rule if when is not None else None


def _traffic(common: dict[str, Any], spec: Fields, models: Models) -> Policy:
    spec.only_one("rules", "route_rules")
    spec.only_one("default", "route_rules")
    text = spec.condition("route_rules")
    rules = _rules(spec, _traffic_rule)
    default = spec.mapping("default")
    route = None if default is None else _route(default)
    if default is not None:
        default.done()
    spec.done()
    if text is not None:
        rules, route = parse_route_rules(text.source, models, spec.findings)
    return TrafficPolicy(**common, rules=rules, default=route)


def _traffic_rule(fields: Fields, rule: dict[str, Any]) -> TrafficRule | None:
    nested = fields.mapping("route", required=True)
    route = TrafficRoute() if nested is None else _route(nested)
    if nested is not None:
        nested.done()
    return TrafficRule(**rule, route=route, advice=fields.plain("advice"))


def _route(fields: Fields) -> TrafficRoute:
    fields.only_one("version", "split")
    fields.only_one("subset", "split")
    version, labels = fields.string("version"), _labels(fields, "subset")
    split = _split(fields)
    sticky = fields.condition("sticky")
    if sticky is not None and not split:
        fields.findings.error("MCP0008", f"{fields.what}: 'sticky' needs a 'split'", fields.keys["sticky"])
    return TrafficRoute(
        subset=Subset(version, labels) if version or labels else None,
        split=split,
        sticky=sticky,
        salt=fields.string("salt"),
        priority=fields.string("priority"),
        timeout=fields.duration("timeout"),
    )


def _labels(fields: Fields, name: str) -> dict[str, str]:
    nested = fields.mapping(name)
    if nested is None:
        return {}
    labels = {key: nested.string(key) for key in nested.nodes}
    if not labels:
        nested.findings.error("MCP0005", f"{nested.what}: at least one label is required", nested.node)
    return labels


def _split(fields: Fields) -> tuple[Share, ...]:
    nested = fields.mapping("split")
    if nested is None:
        return ()
    shares = tuple(
        Share(name, nested.as_integer(node, name, 1, low=0, high=MAX_WEIGHT)) for name, node in nested.nodes.items()
    )
    if not any(share.weight for share in shares):
        nested.findings.error("MCP0008", f"{nested.what}: at least one weight is above 0", nested.node)
    if sum(share.weight for share in shares) > MAX_TOTAL:
        nested.findings.error("MCP0008", f"{nested.what}: the weights add up to more than {MAX_TOTAL}", nested.node)
    return shares


def _access(common: dict[str, Any], spec: Fields, _models: Models) -> Policy:
    rules = _rules(spec, _access_rule)
    default = spec.choice("default", ("deny", "permit"), required=True)
    spec.done()
    return AccessPolicy(**common, rules=rules, default=default or "deny")


_EFFECT_KEYS: Mapping[str, tuple[str, ...]] = {
    "deny": ("reason",),
    "review": ("by", "reason"),
    "step_up": ("acr", "max_age", "reason"),
    "permit": (),
}


def _access_rule(fields: Fields, rule: dict[str, Any]) -> AccessRule:
    effect = fields.choice("effect", EFFECTS, required=True)
    given: dict[str, Any] = {}
    for key in _EFFECT_KEYS.get(effect, ()):
        given[key] = _max_age(fields) if key == "max_age" else fields.string(key)
    return AccessRule(**rule, effect=effect or "deny", **given)


def _max_age(fields: Fields) -> int | None:
    value = fields.duration("max_age")
    return None if value is None else max(1, int(value))


def _qos(common: dict[str, Any], spec: Fields, _models: Models) -> Policy:
    rules = _rules(spec, _qos_rule)
    fields = spec.mapping("default")
    default = None
    if fields is not None:
        at = Scalar("", fields.node.file, fields.node.line, fields.node.column)
        default = _qos_rule(fields, {"name": "", "when": Condition("true", at), "at": at})
        fields.done()
    spec.done()
    return QosPolicy(**common, rules=rules, default=default)


def _qos_rule(fields: Fields, rule: dict[str, Any]) -> QosRule:
    nested = fields.mapping("qos")
    advice = fields.plain("advice")
    if nested is None:
        if not advice:
            fields.findings.error("MCP0005", f"{fields.what}: 'qos' or 'advice' is required", fields.node)
        return QosRule(**rule, advice=advice)
    priority, service_class = nested.choice("priority", PRIORITIES, "normal"), nested.string("class")
    nested.done()
    return QosRule(**rule, priority=priority, service_class=service_class, advice=advice)


def _limits(common: dict[str, Any], spec: Fields, _models: Models) -> Policy:
    rules = _rules(spec, _limit_rule)
    spec.done()
    return RateLimitPolicy(**common, rules=rules)


def _limit_rule(fields: Fields, rule: dict[str, Any]) -> LimitRule | None:
    nested = fields.mapping("limit", required=True)
    if nested is None:
        return None
    limit = LimitRule(
        **rule,
        requests=nested.integer("requests", 1, low=0, required=True),
        per=nested.duration("per", 1.0) or 1.0,
        burst=nested.integer("burst", 0, low=0),
        key=nested.condition("key"),
    )
    nested.done()
    return limit


_READERS: Mapping[str, Callable[[dict[str, Any], Fields, Models], Policy]] = {
    "TrafficPolicy": _traffic,
    "AccessPolicy": _access,
    "QosPolicy": _qos,
    "RateLimitPolicy": _limits,
}


def check_names(policies: Iterable[Policy], findings: Collector) -> None:
    """Report policies of one kind and name, and second TrafficPolicies of one target, in force or in shadow."""
    names: set[tuple[str, str, str]] = set()
    targets: dict[tuple[str, str, bool, tuple[str, ...]], str] = {}
    for policy in policies:
        key = (policy.kind, policy.namespace, policy.name)
        if key in names and policy.name:
            findings.error(
                "MCP0009", f"{policy.kind} {shown(policy.name)} exists twice in {policy.namespace!r}", policy.at
            )
        names.add(key)
        if isinstance(policy, TrafficPolicy):
            _check_target(policy, targets, findings)


def _check_target(policy: Policy, targets: dict[Any, str], findings: Collector) -> None:
    key = (policy.namespace, policy.target.service, policy.shadow, tuple(sorted(policy.target.operations)))
    first = targets.setdefault(key, policy.name)
    if first is not policy.name:
        message = (
            f"TrafficPolicy {shown(policy.name)} has the target of {shown(first)}; a target has one. Merge their rules."
        )
        findings.error("MCP0009", message, policy.at)
