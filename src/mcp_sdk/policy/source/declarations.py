"""``models.yaml`` → declared models; what does not fit is a finding at its place, as it is in policies.

    models:
    - name: order
      states: [created, paid]
      transitions: {created: [paid]}
      attributes: [{name: amount, type: decimal}]

The keys are those of ``BusinessModel`` and ``Attribute``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from mcp_sdk.exceptions import ModelError, did_you_mean
from mcp_sdk.models import ATTRIBUTE_TYPES, Attribute, BusinessModel
from mcp_sdk.policy.findings import Collector
from mcp_sdk.policy.source.fields import INT64, Fields, kind_of, shown
from mcp_sdk.policy.source.reading import MapNode, Node, Scalar, SequenceNode, read_documents

__all__ = ["places_of", "read_models"]

Forms = tuple[tuple[str, type[Any], str], ...]
_OF_FILE: Forms = (("models", SequenceNode, "[{name: order, states: [created, paid]}]"),)
_OF_MODEL: Forms = (
    ("states", SequenceNode, "[created, paid]"),
    ("transitions", MapNode, "{created: [paid]}"),
    ("attributes", SequenceNode, "[{name: amount, type: decimal}]"),
)
_TYPES = tuple(sorted(ATTRIBUTE_TYPES))


def read_models(sources: Mapping[str, str], findings: Collector) -> dict[str, BusinessModel]:
    """Give the models that some texts, by file name, declare, by name; one with a mistake is left out.

    Raises ``MissingExtra`` where PyYAML is not installed.
    """
    declared: dict[str, BusinessModel] = {}
    seen: dict[str, Node] = {}
    for file in sorted(sources):
        for fields in _entries(sources[file], file, findings):
            _once(fields, seen, "model")
            model = _model(fields)
            if model is not None:
                declared.setdefault(model.name, model)
    return declared


def places_of(sources: Mapping[str, str]) -> dict[str, Scalar]:
    """Give where each model is declared first, by name, in texts that ``read_models`` takes."""
    found: dict[str, Scalar] = {}
    for file in sorted(sources):
        for fields in _entries(sources[file], file, Collector()):
            node = fields.get("name")
            if isinstance(node, Scalar):
                found.setdefault(node.text, node)
    return found


def _entries(text: str, file: str, findings: Collector) -> Iterator[Fields]:
    """Yield the fields of each model that a file declares."""
    before = findings.failures
    documents = read_documents(text, file, findings)
    if not documents and findings.failures == before:
        documents = [Scalar("", file, 1, 1)]
    for document in documents:
        if isinstance(document, MapNode):
            top = Fields(document, "models file", findings)
            _check_forms(top, _OF_FILE)
            top.require("models")
            yield from _mappings(top, "models", "model", "{name: order}")
            top.done()
        else:
            message = f"a models file holds a list under 'models:', and this is {kind_of(document)}"
            findings.error("MCP0003", message, document)


def _check_forms(fields: Fields, forms: Forms) -> None:
    """Report lists and mappings that are something else, with what they look like; they then count as empty."""
    for name, kind, example in forms:
        node = fields.get(name)
        if node is not None and not isinstance(node, kind):
            message = f"{fields.what}: {name!r} is {kind_of(node)}. Write it as {name}: {example}"
            fields.findings.error("MCP0003", message, node)
            fields.nodes[name] = kind(node.file, node.line, node.column)


def _mappings(fields: Fields, name: str, noun: str, example: str) -> Iterator[Fields]:
    """Yield the fields of each item of a list of mappings."""
    for number, node in enumerate(fields.sequence(name), 1):
        if isinstance(node, MapNode):
            yield Fields(node, _title(node, noun, number), fields.findings)
        else:
            message = f"{fields.what}: {name}[{number}] is {kind_of(node)}. Write it as {example}"
            fields.findings.error("MCP0003", message, node)


def _title(node: MapNode, noun: str, number: int) -> str:
    names = (value for key, value in node.entries if isinstance(key, Scalar) and key.text == "name")
    name = next((value.text for value in names if isinstance(value, Scalar)), "")
    return f"{noun} {shown(name)}" if name else f"{noun}s[{number}]"


def _once(fields: Fields, seen: dict[str, Node], noun: str) -> None:
    """Report a name that another one has."""
    node = fields.get("name")
    if isinstance(node, Scalar) and node.text:
        first = seen.setdefault(node.text, node)
        if first is not node:
            message = f"{noun} {shown(node.text)} is declared twice, first at {first.file}:{first.line}"
            fields.findings.error("MCP0028", message, node)


def _model(fields: Fields) -> BusinessModel | None:
    before = fields.findings.failures
    _check_forms(fields, _OF_MODEL)
    states = [state.text for state in _names(fields, fields.sequence("states"))]
    plain: dict[str, Any] = {
        "name": _named(fields, BusinessModel),
        "key": fields.string("key", "id"),
        "state": fields.string("state", "state"),
        "states": states,
        "transitions": _transitions(fields, states),
        "attributes": _attributes(fields),
        "retention": _retention(fields),
        **{name: fields.boolean(name) for name in ("enforce", "principal", "pseudonymise")},
    }
    fields.done()
    if fields.findings.failures > before:
        return None
    try:
        return BusinessModel(**plain)
    except ModelError as error:
        fields.findings.error("MCP0031", str(error), fields.node)
        return None


def _named(fields: Fields, make: Callable[[str], object]) -> str:
    """Give a name that may be one in policies, as ``make`` knows."""
    name, node = fields.string("name", required=True), fields.get("name")
    if isinstance(node, Scalar) and not isinstance(node.value, bool):
        try:
            make(name)
        except ModelError as error:
            fields.findings.error("MCP0029", str(error), node)
    return name


def _names(fields: Fields, nodes: Iterable[Node]) -> list[Scalar]:
    """Give the names of states in a list; a number is taken as it is written."""
    found = []
    for node in nodes:
        if isinstance(node, Scalar) and node.value is not None and not isinstance(node.value, bool):
            found.append(node)
        else:
            message = f"{fields.what}: a state is a name, not {kind_of(node)}. Quote it if it is meant as one."
            fields.findings.error("MCP0003", message, node)
    return found


def _transitions(fields: Fields, states: list[str]) -> dict[str, list[str]]:
    moves = fields.mapping("transitions")
    found: dict[str, list[str]] = {}
    if moves is None:
        return found
    for start, key in moves.keys.items():
        ends = _names(fields, moves.sequence(start))
        for state, node in ((start, key), *((end.text, end) for end in ends)):
            _check_state(fields, state, node, states)
        found[start] = [end.text for end in ends]
    return found


def _check_state(fields: Fields, state: str, node: Node, states: list[str]) -> None:
    if states and state not in states:
        message = f"{fields.what}: a transition names state {shown(state)}.{did_you_mean(state, states)}"
        fields.findings.error("MCP0030", message, node)


def _attributes(fields: Fields) -> list[Attribute]:
    seen: dict[str, Node] = {}
    found = []
    for own in _mappings(fields, "attributes", "attribute", "{name: amount, type: decimal}"):
        own.what = f"{fields.what}, {own.what}"
        _once(own, seen, f"{fields.what}: attribute")
        attribute = _attribute(own)
        if attribute is not None:
            found.append(attribute)
    return found


def _attribute(fields: Fields) -> Attribute | None:
    before = fields.findings.failures
    plain: dict[str, Any] = {
        "name": _named(fields, Attribute),
        "type": fields.choice("type", _TYPES, "string"),
        "travels": fields.boolean("travels") if "travels" in fields else True,
        "sensitive": fields.boolean("sensitive"),
        "scale": fields.integer("scale", 2, low=0, high=9),
        "priority": fields.integer("priority", 0, low=-INT64),
        "source": fields.string("source"),
    }
    fields.done()
    return Attribute(**plain) if fields.findings.failures == before else None


def _retention(fields: Fields) -> float | None:
    node = fields.get("retention")
    value = node.value if isinstance(node, Scalar) else None
    if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value > 0:
        return value
    if node is not None:
        fields.wrong(node, "retention", "seconds above 0", kind_of(node))
    return None
