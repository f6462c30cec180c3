"""YAML text → placed nodes, in bounded time and memory.

Nodes are built from parser events without recursion, so that neither deep nesting nor an alias bomb can hurt. Plain
scalars follow YAML 1.2's core schema: ``NO`` is a string, not false. Sources: YAML 1.2.2 chapters 7, 8 and 10.3.
"""

from __future__ import annotations

import importlib
import math
import re
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from mcp_sdk.exceptions import MissingExtra
from mcp_sdk.policy.findings import Collector

__all__ = ["MapNode", "Node", "Scalar", "SequenceNode", "read_documents"]

MAX_TEXT = 8_000_000
MAX_DEPTH = 40
MAX_NODES = 2_000_000

_INT = re.compile(r"[-+]?[0-9]{1,40}\Z")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?\Z")
_WORDS: dict[str, Any] = {
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys(("null", "Null", "NULL", "~", ""), None),
    **dict.fromkeys((".inf", ".Inf", "+.inf"), math.inf),
    **dict.fromkeys(("-.inf", "-.Inf"), -math.inf),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), math.nan),
}
_BLANKS = re.compile(r"(?=[ \t\n])[ \t]*(\n\s*)?")
"""Blanks within a line, or those around a line break, which is folded."""

_ESCAPE = {"x": 2, "u": 4, "U": 8}


@dataclass(slots=True)
class Scalar:
    """A scalar at its place. ``text`` is what was written, unquoted; ``raw`` with its quotes or block header."""

    text: str
    file: str
    line: int
    column: int
    style: str = ""
    raw: str = ""
    _table: tuple[array[int], array[int]] | None = field(default=None, init=False, repr=False, compare=False)

    @property
    def value(self) -> Any:
        """The value by the core schema: str, int, float, bool or None."""
        if self.style:
            return self.text
        if self.text in _WORDS:
            return _WORDS[self.text]
        if _INT.match(self.text):
            return int(self.text)
        return float(self.text) if _FLOAT.match(self.text) else self.text

    def at(self, offset: int) -> Scalar:
        """Give the place in the file of the character ``offset`` of ``text``."""
        if self._table is None:
            self._table = self._places()
        lines, columns = self._table
        if not lines:
            return Scalar("", self.file, self.line, self.column)
        index = min(max(offset, 0), len(lines) - 1)
        return Scalar("", self.file, lines[index], columns[index])

    def _places(self) -> tuple[array[int], array[int]]:
        """Give the lines and columns of all characters, found once: many rules may stand in one text."""
        lines, columns = array("L"), array("L")
        for line, column in (_block_places if self.style in ("|", ">") else _flow_places)(self):
            lines.append(line)
            columns.append(column)
        return lines, columns


@dataclass(slots=True)
class SequenceNode:
    """A sequence at its place."""

    file: str
    line: int
    column: int
    items: list[Node] = field(default_factory=list)


@dataclass(slots=True)
class MapNode:
    """A mapping at its place; its entries in the order written, duplicates included."""

    file: str
    line: int
    column: int
    entries: list[tuple[Node, Node]] = field(default_factory=list)


Node = Scalar | SequenceNode | MapNode


def _flow_places(scalar: Scalar) -> Iterator[tuple[int, int]]:
    """Yield the place of each character of a plain or quoted scalar, escapes and folded lines counted as one."""
    raw, line, column, index = scalar.raw, scalar.line, scalar.column, 0
    if scalar.style:
        index, column = 1, column + 1
    while index < len(raw):
        blanks = _BLANKS.match(raw, index)
        if blanks is not None and blanks[1] is None:
            yield from ((line, column + n) for n in range(len(blanks[0])))
            index, column = blanks.end(), column + len(blanks[0])
            continue
        width = _width(raw, index, scalar.style) if blanks is None else len(blanks[0])
        yield line, column
        breaks = raw.count("\n", index, index + width)
        line += breaks
        column = column + width if not breaks else width - (raw.rfind("\n", index, index + width) - index)
        index += width


def _width(raw: str, index: int, style: str) -> int:
    if style == '"' and raw[index] == "\\" and index + 1 < len(raw):
        return 2 + _ESCAPE.get(raw[index + 1], 0)
    return 2 if style == "'" and raw.startswith("''", index) else 1


def _block_places(scalar: Scalar) -> Iterator[tuple[int, int]]:
    lines = scalar.raw.split("\n")[1:]
    written = [len(line) - len(line.lstrip(" ")) for line in lines if line.strip()]
    indent = min(written, default=0)
    for number, line in enumerate(lines, 1):
        for column in range(indent, max(indent, len(line)) + 1):
            yield scalar.line + number, column + 1


def read_documents(text: str, file: str, findings: Collector) -> list[Node]:
    """Parse YAML text into one node a document; what is wrong is reported, and what came before it is returned.

    Limits: 8 MB of text, 40 levels, 2 million nodes; an alias stands for its anchor once more and counts as many nodes.
    """
    start = Scalar("", file, 1, 1)
    if len(text) > MAX_TEXT:
        findings.error("MCP0002", f"{len(text)} characters are over the limit of {MAX_TEXT}. Split the file.", start)
        return []
    yaml = _yaml()
    builder = _Builder(text, file, findings)
    try:
        for event in yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
            if not builder.take(type(event).__name__, event):
                break
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = Scalar("", file, mark.line + 1, mark.column + 1) if mark else start
        findings.error("MCP0001", f"not YAML: {getattr(error, 'problem', None) or _reason(error)}", place)
    except UnicodeEncodeError:
        findings.error("MCP0001", *_surrogate(text, file))
    return builder.documents


def _surrogate(text: str, file: str) -> tuple[str, Scalar]:
    """Say where a text has what is no character: a byte that is no UTF-8, kept as PEP 383 does, or a lone surrogate."""
    offset = next(offset for offset, char in enumerate(text) if "\ud800" <= char <= "\udfff")
    line, column = text.count("\n", 0, offset) + 1, offset - text.rfind("\n", 0, offset)
    byte = ord(text[offset]) - 0xDC00
    what = f"byte 0x{byte:02x} is no UTF-8" if 0x80 <= byte <= 0xFF else "a lone surrogate is no character"
    return f"not YAML: {what}. Save the file as UTF-8.", Scalar("", file, line, column)


def _reason(error: Exception) -> str:
    return str(getattr(error, "reason", "") or error).splitlines()[0]


def _yaml() -> Any:
    try:
        return importlib.import_module("yaml")
    except ImportError:
        raise MissingExtra("PyYAML", extra="policy", purpose="reading policies from YAML") from None


class _Builder:
    """Builds nodes from events with a stack of its own."""

    def __init__(self, text: str, file: str, findings: Collector) -> None:
        self.text, self.file, self.findings = text, file, findings
        self.documents: list[Node] = []
        self.stack: list[tuple[SequenceNode | MapNode, list[Node], int]] = []
        self.anchors: dict[str, Node] = {}
        self.sizes: dict[int, int] = {}
        self.count = 0

    def take(self, name: str, event: Any) -> bool:
        line, column = event.start_mark.line + 1, event.start_mark.column + 1
        if name == "ScalarEvent":
            return self._close(self._scalar(event, line, column), event.anchor)
        if name in ("SequenceStartEvent", "MappingStartEvent"):
            return self._open(name, event, line, column)
        if name in ("SequenceEndEvent", "MappingEndEvent"):
            return self._finish(*self.stack.pop())
        if name == "AliasEvent":
            return self._alias(event, line, column)
        if name == "DocumentStartEvent":
            self.anchors.clear()
        return True

    def _scalar(self, event: Any, line: int, column: int) -> Scalar:
        raw = self.text[event.start_mark.index : event.end_mark.index]
        return Scalar(event.value, self.file, line, column, "" if event.style in (None, "") else event.style, raw)

    def _open(self, name: str, event: Any, line: int, column: int) -> bool:
        kind = SequenceNode if name == "SequenceStartEvent" else MapNode
        node = kind(self.file, line, column)
        if len(self.stack) >= MAX_DEPTH:
            self.findings.error("MCP0002", f"nested deeper than {MAX_DEPTH} levels", node)
            return False
        if event.anchor:
            self.anchors[event.anchor] = node
        self.stack.append((node, [], self.count))
        return True

    def _finish(self, node: SequenceNode | MapNode, children: list[Node], before: int) -> bool:
        if isinstance(node, MapNode):
            node.entries.extend(zip(children[::2], children[1::2], strict=True))
        else:
            node.items.extend(children)
        self.sizes[id(node)] = self.count - before
        return self._close(node, None)

    def _alias(self, event: Any, line: int, column: int) -> bool:
        here = Scalar("", self.file, line, column)
        known = self.anchors.get(event.anchor)
        if known is None or any(known is node for node, _, _ in self.stack):
            self.findings.error("MCP0001", f"not YAML here: alias *{event.anchor} names no finished value", here)
            return False
        self.count += self.sizes.get(id(known), 0)
        return self._close(known, None)

    def _close(self, node: Node, anchor: str | None) -> bool:
        self.count += 1
        if self.count > MAX_NODES:
            self.findings.error("MCP0002", f"more than {MAX_NODES} values, aliases written out", node)
            return False
        if anchor:
            self.anchors[anchor] = node
        (self.stack[-1][1] if self.stack else self.documents).append(node)
        return True
