"""Mappings laid over each other: what several cases share is written once.

Every node keeps the place where it was written, so a mistake is reported there, and once, however many cases share it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from mcp_sdk.exceptions import Finding, did_you_mean
from mcp_sdk.policy.findings import Collector
from mcp_sdk.policy.source.fields import Fields, shown
from mcp_sdk.policy.source.reading import MapNode, Node, Scalar, SequenceNode

__all__ = ["Once", "key_of", "laid_over", "larger", "resolved", "without"]

LIKE = "like"
MAX_CHAIN = 20


@dataclass(slots=True)
class Once(Collector):
    """Keeps one finding of a code at a place: what cases share is read with each of them."""

    places: set[tuple[str, str, int, int]] = field(default_factory=set)

    def add(self, finding: Finding) -> None:
        """Keep a finding unless its like is there, or the bound is reached."""
        place = (finding.code, finding.file, finding.line, finding.column)
        if place not in self.places:
            self.places.add(place)
            Collector.add(self, finding)


def key_of(key: Node) -> str | None:
    """Give the text of a key; None when it is no name."""
    return key.text if isinstance(key, Scalar) else None


def laid_over(base: MapNode, over: MapNode) -> MapNode:
    """Give a mapping with the entries of both: mappings merge, of anything else the upper one counts."""
    below = {key_of(key): value for key, value in base.entries}
    above = {key_of(key) for key, _ in over.entries} - {None}
    entries = [entry for entry in base.entries if key_of(entry[0]) not in above]
    entries += [(key, _merged(below.get(key_of(key)), value)) for key, value in over.entries]
    return MapNode(over.file, over.line, over.column, entries)


def _merged(below: Node | None, above: Node) -> Node:
    return laid_over(below, above) if isinstance(below, MapNode) and isinstance(above, MapNode) else above


def without(node: MapNode, *names: str) -> MapNode:
    """Give a mapping without some keys."""
    kept = [entry for entry in node.entries if key_of(entry[0]) not in names]
    return MapNode(node.file, node.line, node.column, kept)


def larger(node: Node, limit: int) -> bool:
    """Tell whether a node holds more than ``limit`` values, aliases written out."""
    stack: list[Node] = [node]
    count = 0
    while stack and count <= limit:
        count += 1
        one = stack.pop()
        if isinstance(one, MapNode):
            stack += [value for _, value in one.entries]
        elif isinstance(one, SequenceNode):
            stack += one.items
    return count > limit


def resolved(node: Node, fixtures: dict[str, Node], what: str, findings: Collector) -> MapNode | None:
    """Give the mapping that a value stands for: itself, the fixture that it names, or one ``like`` a fixture.

    None when it is neither, which is reported.
    """
    layers: list[MapNode] = []
    waiting: Any = node
    while len(layers) <= MAX_CHAIN:
        if isinstance(waiting, Scalar) and isinstance(waiting.value, str):
            waiting = _named(waiting, fixtures, what, findings)
        if waiting is None:
            return None
        if not isinstance(waiting, MapNode):
            findings.error("MCP0003", f"{what}: a mapping or the name of a fixture stands here", waiting)
            return None
        layers.append(waiting)
        waiting = Fields(waiting, what, Collector(limit=0)).get(LIKE)
        if waiting is None:
            return _flat(layers)
    findings.error("MCP0204", f"{what}: fixtures lead to each other, or more than {MAX_CHAIN} deep", node)
    return None


def _named(node: Scalar, fixtures: dict[str, Node], what: str, findings: Collector) -> Node | None:
    if node.text not in fixtures:
        known = did_you_mean(node.text, fixtures) or " None is declared under 'fixtures'."
        findings.error("MCP0204", f"{what}: no fixture is called {shown(node.text)}.{known}", node)
    return fixtures.get(node.text)


def _flat(layers: list[MapNode]) -> MapNode:
    result = layers[-1]
    for layer in reversed(layers[:-1]):
        result = laid_over(result, layer)
    return without(result, LIKE)
