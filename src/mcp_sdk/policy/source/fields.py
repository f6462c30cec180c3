"""Typed access to the mapping nodes of a policy file; what does not fit is a finding, and the default stands in."""

from __future__ import annotations

import math
import re
from typing import Any

from mcp_sdk.exceptions import did_you_mean
from mcp_sdk.policy.findings import Collector, Placed
from mcp_sdk.policy.source.reading import MapNode, Node, Scalar, SequenceNode
from mcp_sdk.policy.source.resources import Condition
from mcp_sdk.services import NAMES, is_name

__all__ = ["INT64", "Fields", "kind_of", "seconds", "shown"]

_DURATION = re.compile(r"\s*([0-9]{1,12}(?:\.[0-9]{1,9})?)\s*(ms|s|m|h|d)\s*\Z")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
INT64 = 2**63


def shown(value: Any) -> str:
    """Give a value as messages show it, cut at 60 characters."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…" + text[-1]


def seconds(text: Any) -> float | None:
    """Read ``500ms``, ``1m``, ``2h`` or a number of seconds; None when it is neither, or negative."""
    if isinstance(text, bool):
        return None
    if isinstance(text, (int, float)):
        return float(text) if 0 <= text < 1e12 else None
    match = _DURATION.match(text) if isinstance(text, str) else None
    return float(match[1]) * _UNITS[match[2]] if match else None


def kind_of(node: Node) -> str:
    """Say what stands in the place of something else."""
    if isinstance(node, MapNode):
        return "a mapping"
    if isinstance(node, SequenceNode):
        return "a list"
    return "nothing" if node.value is None else shown(node.value)


class Fields:
    """The entries of one mapping, read key by key; ``done`` reports the keys that nobody asked for."""

    def __init__(self, node: MapNode, what: str, findings: Collector) -> None:
        self.node: MapNode = node
        self.what: str = what
        self.findings: Collector = findings
        self.asked: set[str] = set()
        self.nodes: dict[str, Node] = {}
        self.keys: dict[str, Node] = {}
        for key, value in node.entries:
            self._enter(key, value)

    def _enter(self, key: Node, value: Node) -> None:
        if not isinstance(key, Scalar):
            self.findings.error("MCP0003", f"{self.what}: a key is a name, not {kind_of(key)}", key)
        elif key.text in self.nodes:
            self.findings.error("MCP0006", f"{self.what}: key {shown(key.text)} is written twice", key)
        else:
            self.nodes[key.text], self.keys[key.text] = value, key

    def __contains__(self, name: str) -> bool:
        return self.get(name) is not None

    def get(self, name: str) -> Node | None:
        """Give the node of a key; None when it is absent or null."""
        self.asked.add(name)
        node = self.nodes.get(name)
        return None if isinstance(node, Scalar) and node.value is None else node

    def require(self, name: str) -> Node | None:
        """Like ``get``; absence is a finding."""
        node = self.get(name)
        if node is None:
            self.findings.error("MCP0005", f"{self.what}: {name!r} is required", self.keys.get(name, self.node))
        return node

    def wrong(self, node: Placed, name: str, wanted: str, got: str) -> None:
        """Report a value of the wrong type."""
        self.findings.error("MCP0003", f"{self.what}: {name!r} is {wanted}, not {got}", node)

    def mapping(self, name: str, *, required: bool = False) -> Fields | None:
        """Give the fields of a nested mapping."""
        node = self.require(name) if required else self.get(name)
        if node is None:
            return None
        if not isinstance(node, MapNode):
            self.wrong(node, name, "a mapping", kind_of(node))
            return None
        return Fields(node, f"{self.what}.{name}", self.findings)

    def sequence(self, name: str) -> list[Node]:
        """Give the items of a list; empty when absent."""
        node = self.get(name)
        if node is None:
            return []
        if not isinstance(node, SequenceNode):
            self.wrong(node, name, "a list", kind_of(node))
            return []
        return node.items

    def string(self, name: str, default: str = "", *, required: bool = False) -> str:
        """Give a string; a number that stands unquoted is taken as it is written."""
        node = self.require(name) if required else self.get(name)
        if node is None:
            return default
        if not isinstance(node, Scalar) or isinstance(node.value, bool):
            self.wrong(node, name, "a string", kind_of(node))
            return default
        return node.text

    def identifier(self, name: str, default: str = "", *, required: bool = False) -> str:
        """Give the name of a policy, rule or service: letters, digits and ``. _ - /`` inside, at most 200.

        A default that is no name is a finding where the name would stand.
        """
        text = self.string(name, default, required=required)
        if text and not is_name(text):
            said = f"is {shown(text)}" if name in self else f"is not written, and the default is {shown(text)}"
            self.findings.error("MCP0008", f"{self.what}: {name!r} {said}; {NAMES}", self.nodes.get(name, self.node))
        return text

    def choice(self, name: str, valid: tuple[str, ...], default: str = "", *, required: bool = False) -> str:
        """Give a string that is one of ``valid``."""
        text = self.string(name, default, required=required)
        if text and text not in valid and name in self.nodes:
            message = f"{self.what}: {name!r} is {shown(text)}.{did_you_mean(text, valid)}"
            self.findings.error("MCP0007", message, self.nodes[name])
            return default or valid[0]
        return text

    def boolean(self, name: str) -> bool:
        """Give a bool; False when absent."""
        node = self.get(name)
        if node is None:
            return False
        if not isinstance(node, Scalar) or not isinstance(node.value, bool):
            self.wrong(node, name, "true or false", kind_of(node))
            return False
        return node.value

    def integer(self, name: str, default: int, *, low: int, high: int = INT64 - 1, required: bool = False) -> int:
        """Give an integer from ``low`` to ``high``."""
        node = self.require(name) if required else self.get(name)
        return default if node is None else self.as_integer(node, name, default, low=low, high=high)

    def as_integer(self, node: Node, name: str, default: int, *, low: int, high: int = INT64 - 1) -> int:
        """Read a node as an integer from ``low`` to ``high``."""
        value = node.value if isinstance(node, Scalar) else None
        if isinstance(value, bool) or not isinstance(value, int):
            self.wrong(node, name, "an integer", kind_of(node))
            return default
        if not low <= value <= high:
            self.findings.error(
                "MCP0008", f"{self.what}: {name!r} is {shown(value)}; it goes from {low} to {high}", node
            )
            return default
        return value

    def duration(self, name: str, default: float | None = None) -> float | None:
        """Give seconds, written as a number or as ``500ms``, ``1m``, ``2h``."""
        node = self.get(name)
        if node is None:
            return default
        value = seconds(node.value) if isinstance(node, Scalar) else None
        if value is None or not math.isfinite(value) or value <= 0:
            self.wrong(node, name, "a time above 0, as seconds or like 500ms, 1m, 2h", kind_of(node))
            return default
        return value

    def condition(self, name: str, *, required: bool = False) -> Condition | None:
        """Give an expression with its place."""
        node = self.require(name) if required else self.get(name)
        if node is None:
            return None
        if not isinstance(node, Scalar):
            self.wrong(node, name, "a CEL expression", kind_of(node))
            return None
        return Condition(node.text, node)

    def plain(self, name: str) -> dict[str, Any]:
        """Give a mapping of names to plain JSON values."""
        fields = self.mapping(name)
        return {} if fields is None else {key: fields.value(key) for key in fields.nodes}

    def value(self, name: str) -> Any:
        """Give a value as plain JSON: bool, int64, finite double, string, null, list or mapping of them."""
        self.asked.add(name)
        return self._plain(self.nodes[name], name)

    def _plain(self, node: Node, name: str) -> Any:
        if isinstance(node, SequenceNode):
            return [self._plain(item, name) for item in node.items]
        if isinstance(node, MapNode):
            return Fields(node, f"{self.what}.{name}", self.findings).plain_all()
        value = node.value
        if (isinstance(value, float) and not math.isfinite(value)) or (
            type(value) is int and not -INT64 <= value < INT64
        ):
            self.findings.error(
                "MCP0008", f"{self.what}: {name!r} holds {shown(value)}, which fits no int64 or double", node
            )
            return 0
        return value

    def plain_all(self) -> dict[str, Any]:
        """Give the whole mapping as plain JSON."""
        return {key: self.value(key) for key in self.nodes}

    def only_one(self, *names: str) -> None:
        """Report when more than one of ``names`` is written."""
        written = [name for name in names if name in self.nodes]
        if len(written) > 1:
            message = f"{self.what}: {' and '.join(map(repr, written))} exclude each other; write one"
            self.findings.error("MCP0008", message, self.keys[written[1]])

    def done(self) -> None:
        """Report every key that nobody asked for, with the nearest valid one."""
        for name, key in self.keys.items():
            if name not in self.asked:
                message = f"{self.what}: unknown key {shown(name)}.{did_you_mean(name, self.asked)}"
                self.findings.error("MCP0004", message, key)
