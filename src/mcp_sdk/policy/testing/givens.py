"""What a case gives: the facts of one call, each value checked against the declared models → ``DecisionRequest``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from mcp_sdk.context import ModelContext, Trust
from mcp_sdk.decisions import ANONYMOUS, DecisionRequest, Geo, Phase, Principal, RequestFacts, Source
from mcp_sdk.exceptions import ModelError, did_you_mean
from mcp_sdk.models import Attribute, BusinessModel
from mcp_sdk.policy.engine import Engine
from mcp_sdk.policy.source.fields import Fields, shown
from mcp_sdk.policy.source.layers import resolved
from mcp_sdk.policy.source.reading import Node, Scalar, SequenceNode

__all__ = ["DEFAULT_NOW", "Givens"]

DEFAULT_NOW = datetime(2000, 1, 1, tzinfo=UTC)
"""The moment of a case that gives none: always the same one, so that no case turns with the clock."""

_OWN = ("id", "state", "trust", "tentative", "attributes")
_TRUST = tuple(trust.value for trust in Trust)
_PHASES = tuple(phase.value for phase in Phase)
_WANTED = {
    "string": "a string",
    "int": "an integer of 64 bits",
    "double": "a number",
    "bool": "true or false",
    "decimal": "a number in major units",
    "timestamp": "a moment like 2026-11-22T12:00:00Z",
    "list": "a list of strings",
}


@dataclass(slots=True)
class Givens:
    """Reads the facts of calls. ``fixtures`` are nodes by section and name; of contexts by ``contexts.<model>``."""

    engine: Engine
    fixtures: dict[str, dict[str, Node]] = field(default_factory=dict)
    governing: dict[str, set[str]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        for policy in self.engine.programs.get("policies", ()):
            self.governing.setdefault(policy["service"], set()).add(policy["namespace"])

    def request(self, case: Fields) -> DecisionRequest:
        """Read the call of a case; what does not fit is reported."""
        service = case.identifier("service", required=True)
        operation = case.string("operation")
        facts = self.facts(case, operation)
        contexts = self.contexts(case)
        if case.choice("ingress", ("mesh", "open"), "mesh") != "open":
            contexts = {name: context for name, context in contexts.items() if context.trust.counts}
        return DecisionRequest(
            service,
            operation,
            Phase(case.choice("phase", _PHASES, Phase.INBOUND.value)),
            contexts,
            request=facts,
            principal=self.principal(case),
            source=self.source(case),
            namespace=self.namespace(case, service),
            now=moment(case, "now") or DEFAULT_NOW,
        )

    def namespace(self, case: Fields, service: str) -> str:
        """Give the namespace, by default the only one whose policies govern the service."""
        governing = self.governing.get(service, set())
        default = next(iter(governing)) if len(governing) == 1 else "default"
        namespace = case.identifier("namespace", default)
        if service and not governing:
            message = f"{case.what}: no policy governs {shown(service)}.{did_you_mean(service, self.governing)}"
            case.findings.error("MCP0206", message, case.nodes["service"])
        elif service and namespace not in governing:
            message = f"{case.what}: no policy of namespace {shown(namespace)} governs {shown(service)}."
            message += did_you_mean(namespace, governing)
            case.findings.error("MCP0206", message, case.nodes["namespace" if "namespace" in case else "service"])
        return namespace

    def part(self, fields: Fields, name: str, section: str) -> Fields | None:
        """Give the fields of what a case or a fixture says under ``name``."""
        node = fields.get(name)
        if node is None:
            return None
        what = f"{fields.what}.{name}"
        found = resolved(node, self.fixtures.get(section, {}), what, fields.findings)
        return None if found is None else Fields(found, what, fields.findings)

    def facts(self, case: Fields, operation: str) -> RequestFacts:
        """Read ``request``; method and path are the operation's unless it says otherwise."""
        fields = self.part(case, "request", "requests")
        method, space, path = operation.partition(" ")
        if fields is None:
            return RequestFacts(method if space else "", path, operation)
        read = read_facts(fields)
        method, path = read.pop("method") or (method if space else ""), read.pop("path") or path
        return RequestFacts(method=method, path=path, operation=operation, **read)

    def principal(self, case: Fields) -> Principal:
        """Read ``principal``: none is anonymous, and one that is given is authenticated unless it says otherwise."""
        fields = self.part(case, "principal", "principals")
        return ANONYMOUS if fields is None else read_principal(fields)

    def source(self, case: Fields) -> Source:
        """Read ``source``, the peer that calls."""
        fields = self.part(case, "source", "sources")
        return Source() if fields is None else read_source(fields)

    def contexts(self, case: Fields) -> dict[str, ModelContext]:
        """Read ``contexts``, by model."""
        fields = case.mapping("contexts")
        if fields is None:
            return {}
        found: dict[str, ModelContext] = {}
        for name in fields.nodes:
            model = self.model(fields, name)
            given = self.part(fields, name, f"contexts.{name}")
            if model is not None and given is not None:
                found[name] = read_context(given, model)
        return found

    def model(self, fields: Fields, name: str) -> BusinessModel | None:
        """Give the declared model of a name; an unknown one is reported."""
        if name not in self.engine.models:
            known = did_you_mean(name, self.engine.models) or " No model is declared beside the policies."
            fields.findings.error("MCP0201", f"{fields.what}: unknown model {shown(name)}.{known}", fields.keys[name])
        return self.engine.models.get(name)


def read_facts(fields: Fields) -> dict[str, Any]:
    """Read what a request is, as arguments of ``RequestFacts``; names of headers are given in lower case."""
    read: dict[str, Any] = {name: fields.string(name) for name in ("method", "path", "scheme", "host")}
    read["headers"] = {name.lower(): value for name, value in _texts(fields, "headers").items()}
    read["query"] = _texts(fields, "query")
    read["size"] = fields.integer("size", -1, low=-1)
    geo = fields.mapping("geo")
    if geo is not None:
        read["geo"] = Geo(*(geo.string(name) for name in ("country", "region", "continent", "city")))
        geo.done()
    fields.done()
    return read


def read_principal(fields: Fields) -> Principal:
    """Read who calls."""
    principal = Principal(
        id=fields.string("id"),
        authenticated=fields.boolean("authenticated") if "authenticated" in fields else True,
        type=fields.string("type", "user"),
        roles=_strings(fields, "roles"),
        scopes=_strings(fields, "scopes"),
        mfa=fields.boolean("mfa"),
        acr=fields.string("acr"),
        auth_time=moment(fields, "auth_time"),
        attributes=fields.plain("attributes"),
    )
    fields.done()
    return principal


def read_source(fields: Fields) -> Source:
    """Read which peer calls."""
    texts = {name: fields.string(name) for name in ("service", "namespace", "environment", "address")}
    source = Source(**texts, verified=fields.boolean("verified"))
    fields.done()
    return source


def read_context(fields: Fields, model: BusinessModel) -> ModelContext:
    """Read the facts of an entity. An attribute may stand beside ``id`` and ``state``, or under ``attributes``."""
    nodes = {name: (fields.keys[name], node) for name, node in fields.nodes.items() if name not in _OWN}
    apart = fields.mapping("attributes")
    if apart is not None:
        nodes |= {name: (apart.keys[name], node) for name, node in apart.nodes.items()}
    attributes = {name: _attribute(fields, model, name, *found) for name, found in nodes.items()}
    return ModelContext(
        model.name,
        fields.string("id"),
        _state(fields, model),
        {name: value for name, value in attributes.items() if value is not None},
        revision=1,
        tentative=fields.boolean("tentative"),
        trust=Trust(fields.choice("trust", _TRUST, Trust.STORE.value)),
    )


def _state(fields: Fields, model: BusinessModel) -> str | None:
    state = fields.string("state")
    if state and model.states and state not in model.states:
        message = f"{fields.what}: {shown(state)} is no state of {model.name}.{did_you_mean(state, model.states)}"
        fields.findings.error("MCP0203", message, fields.nodes["state"])
    return state or None


def _attribute(fields: Fields, model: BusinessModel, name: str, key: Node, node: Node) -> Any:
    attribute = model.attributes.get(name)
    if attribute is None:
        visible = [*_OWN, *(one.name for one in model.attributes.values() if not one.sensitive)]
        message = f"{fields.what}: {model.name} has no attribute {shown(name)}.{did_you_mean(name, visible)}"
        fields.findings.error("MCP0202", message, key)
    elif attribute.sensitive:
        message = f"{fields.what}: {model.name}.{name} is sensitive; no policy sees it, so no case gives it"
        fields.findings.error("MCP0205", message, key)
    elif not (isinstance(node, Scalar) and node.value is None):
        return _value(fields, attribute, node)
    return None


def _value(fields: Fields, attribute: Attribute, node: Node) -> Any:
    try:
        return attribute.capture(_READERS[attribute.type](attribute, node))
    except (ModelError, TypeError, ValueError, ArithmeticError) as error:
        got = shown(node.text) if isinstance(node, Scalar) else "a list or mapping"
        wanted = str(error) if isinstance(error, _Inexact) else _WANTED[attribute.type]
        fields.findings.error("MCP0203", f"{fields.what}: {attribute.name!r} is {wanted}, not {got}", node)
    return None


class _Inexact(ValueError):
    """A decimal with more digits than its attribute keeps."""


def _scalar(node: Node, *kinds: type) -> Any:
    if not isinstance(node, Scalar) or type(node.value) not in kinds:
        raise TypeError("of another type")
    return node.value


def _text(_: Attribute, node: Node) -> str:
    _scalar(node, str, int, float)
    return node.text if isinstance(node, Scalar) else ""


def _decimal(attribute: Attribute, node: Node) -> Decimal:
    _scalar(node, int, float)
    number = Decimal(node.text if isinstance(node, Scalar) else "")
    if number != round(number, attribute.scale):
        raise _Inexact(f"a number of at most {attribute.scale} decimal digits")
    return number


def _list(_: Attribute, node: Node) -> list[str]:
    if not isinstance(node, SequenceNode):
        raise TypeError("no list")
    return [_text(_, item) for item in node.items]


_READERS: Mapping[str, Callable[[Attribute, Node], Any]] = {
    "string": _text,
    "int": lambda _, node: _scalar(node, int),
    "double": lambda _, node: _scalar(node, int, float),
    "bool": lambda _, node: _scalar(node, bool),
    "decimal": _decimal,
    "timestamp": lambda _, node: _scalar(node, str),
    "list": _list,
}


def _texts(fields: Fields, name: str) -> dict[str, str]:
    nested = fields.mapping(name)
    return {} if nested is None else {key: nested.string(key) for key in nested.nodes}


def _strings(fields: Fields, name: str) -> tuple[str, ...]:
    found = []
    for node in fields.sequence(name):
        if isinstance(node, Scalar) and type(node.value) in (str, int, float):
            found.append(node.text)
        else:
            fields.wrong(node, name, "a list of strings", "something else inside")
    return tuple(found)


def moment(fields: Fields, name: str) -> datetime | None:
    """Read a moment, in UTC where it names no zone."""
    text = fields.string(name)
    if not text:
        return None
    try:
        read = datetime.fromisoformat(text)
        return read.replace(tzinfo=UTC) if read.tzinfo is None else read.astimezone(UTC)
    except (ValueError, OverflowError):
        fields.wrong(fields.nodes[name], name, _WANTED["timestamp"], shown(text))
        return None
