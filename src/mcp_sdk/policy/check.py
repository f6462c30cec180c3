"""Condition text → checked trees, and findings with the position in the file.

First the bounds, then an unchecked parse, from which literals are written in their units, then the check against the
declared models; then what cel-cpp does not know: states that the model does not declare, and regular expressions that
RE2 refuses.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mcp_sdk.exceptions import MissingExtra, did_you_mean
from mcp_sdk.models import BusinessModel
from mcp_sdk.policy.cel.environment import Environment
from mcp_sdk.policy.cel.literals import Patch, apply_patches, literal_patches, original_offset
from mcp_sdk.policy.cel.schema import fields_of
from mcp_sdk.policy.cel.syntax import MACROS, Tree, Unsupported, decode, walk
from mcp_sdk.policy.findings import Collector
from mcp_sdk.policy.source.fields import shown
from mcp_sdk.policy.source.resources import Condition

__all__ = ["Checked", "Checker", "named_states"]

MAX_TEXT = 20_000
MAX_BRACKETS = 200
MAX_MACROS = 3
TOO_DEEP = "the condition is nested too deep; the limit is 32 levels"

_ERROR = re.compile(r"^(?:[A-Z_]+: )?ERROR: <input>:(\d+):(\d+): (.*)$")
_TAIL = re.compile(r"\s*\[[A-Z_]+\]$")
_UNDECLARED = re.compile(r"undeclared reference to '([^']*)'")
_UNDEFINED = re.compile(r"undefined field '([^']*)' not found in struct '\w+\.(\w+)'")
_CALLED = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)\s*\Z")
_OVERLOAD = re.compile(r"no matching overload for '([^']*)' applied to '([^']*)'")
_FUNCTION_NAMES = (
    "all bool bytes contains double duration dyn endsWith exists exists_one filter getDate getDayOfMonth getDayOfWeek "
    "getDayOfYear getFullYear getHours getMilliseconds getMinutes getMonth getSeconds has int map matches size "
    "startsWith string timestamp type uint"
)
FUNCTIONS = tuple(_FUNCTION_NAMES.split())


@dataclass(frozen=True)
class Checked:
    """A condition with its checked tree; ``patches`` lead from the tree's positions back to the condition's text."""

    condition: Condition
    tree: Tree
    patches: tuple[Patch, ...] = ()

    def place(self, tree: Tree) -> Any:
        """Give the place in the file of a node."""
        return self.condition.place(original_offset(tree.position, list(self.patches)))


class Checker:
    """Checks conditions against declared models; keeps what cel-cpp needs between them."""

    def __init__(self, models: Mapping[str, BusinessModel], findings: Collector) -> None:
        self.models: Mapping[str, BusinessModel] = models
        self.findings: Collector = findings
        self.environment: Environment = Environment(models)

    def check(self, condition: Condition, constants: Mapping[str, Any], want: str = "bool") -> Checked | None:
        """Check one condition whose value is to be of type ``want``; None when it does not check."""
        if not self._bounded(condition):
            return None
        parsed = self._compile(condition, lambda: self.environment.parse(condition.text), constants)
        if parsed is None:
            return None
        patches, bad = literal_patches(condition.text, parsed, self.models, constants)
        for literal in bad:
            self.findings.error("MCP0025", literal.message, condition.place(literal.offset))
        if bad:
            return None
        text = apply_patches(condition.text, patches)
        tree = self._compile(condition, lambda: self.environment.check(text, constants), constants, tuple(patches))
        if tree is None:
            return None
        checked = Checked(condition, tree, tuple(patches))
        return checked if self._semantics(checked, constants, want) else None

    def _bounded(self, condition: Condition) -> bool:
        depth = deepest = 0
        for char in condition.text[: MAX_TEXT + 1]:
            depth += (char in "([{") - (char in ")]}")
            deepest = max(deepest, depth)
        if len(condition.text) > MAX_TEXT:
            size = len(condition.text)
            message = f"the condition has {size} characters; the limit is {MAX_TEXT}. Use constants for long lists."
        elif deepest > MAX_BRACKETS:
            message = f"the condition nests more than {MAX_BRACKETS} brackets"
        else:
            return True
        self.findings.error("MCP0024", message, condition.place(0))
        return False

    def _compile(
        self,
        condition: Condition,
        compile_text: Callable[[], bytes],
        constants: Mapping[str, Any],
        patches: tuple[Patch, ...] = (),
    ) -> Tree | None:
        try:
            return decode(compile_text())
        except Unsupported as error:
            place = condition.place(original_offset(error.position, list(patches)))
            self.findings.error("MCP0026", f"policies do not support {error}", place)
        except (RuntimeError, UnicodeError, ValueError) as error:
            self._report(condition, list(patches), str(error), constants)
        return None

    def _report(self, condition: Condition, patches: list[Patch], message: str, constants: Mapping[str, Any]) -> None:
        text = apply_patches(condition.text, patches)
        lines = message.split("\n")
        errors = [match for match in map(_ERROR.match, lines) if match]
        if not errors:
            code = "MCP0024" if "limit" in message else "MCP0020"
            first = _TAIL.sub("", lines[0]).removeprefix("INVALID_ARGUMENT: ").removeprefix("CANCELLED: ")
            first = TOO_DEEP if "recursion" in first else first
            self.findings.error(code, first or "the condition is empty", condition.place(0))
        for line, column, what in sorted(
            {match.groups() for match in errors}, key=lambda e: (int(e[0]) % 2**31, int(e[1]))
        ):
            offset = _offset(text, int(line), int(column))
            code, said, offset = self._explain(_TAIL.sub("", what), text, offset, constants)
            self.findings.error(code, said, condition.place(original_offset(offset, patches)))

    def _explain(self, what: str, text: str, offset: int, constants: Mapping[str, Any]) -> tuple[str, str, int]:
        if undefined := _UNDEFINED.search(what):
            name, owner = undefined.groups()
            found = max(text.find(name, offset), offset)
            model = self.models.get(owner)
            if model is not None and name in model.attributes:
                return "MCP0021", f"{owner}.{name} is declared sensitive; no policy sees it", found
            return "MCP0021", f"{owner} has no {shown(name)}.{did_you_mean(name, fields_of(owner, self.models))}", found
        if undeclared := _UNDECLARED.search(what):
            return self._explain_name(undeclared[1], text, offset, constants)
        if "recursion" in what or "xceed" in what:
            return "MCP0024", TOO_DEEP, 0
        code = "MCP0022" if "overload" in what or "type" in what else "MCP0020"
        return code, _plainly(what)[:300], offset

    def _explain_name(self, name: str, text: str, offset: int, constants: Mapping[str, Any]) -> tuple[str, str, int]:
        first = name.lstrip(".").partition(".")[0]
        called = _CALLED.search(text[:offset]) if text[offset : offset + 1] == "(" else None
        if called and called[1] == name.rpartition(".")[2]:
            return "MCP0021", f"unknown function {shown(name)}.{did_you_mean(name, FUNCTIONS)}", called.start()
        start = text.rfind(first, 0, offset + len(first) + 1)
        known = [*self.environment.types(), *constants]
        return "MCP0021", f"unknown name {shown(first)}.{did_you_mean(first, known)}", start if start >= 0 else offset

    def _semantics(self, checked: Checked, constants: Mapping[str, Any], want: str) -> bool:
        before = self.findings.failures
        if checked.tree.type not in (want, "dyn"):
            message = f"the expression is of type {checked.tree.type}; it must be {want}"
            self.findings.error("MCP0022", message, checked.place(checked.tree))
        if _macro_depth(checked.tree) > MAX_MACROS:
            message = f"macros are nested more than {MAX_MACROS} deep, and each multiplies the cost"
            self.findings.error("MCP0024", message, checked.condition.place(0))
        for tree in walk(checked.tree):
            if tree.kind == "call" and tree.value == "matches":
                self._pattern(checked, tree.args[1])
        self._states(checked, constants)
        return self.findings.failures == before

    def _states(self, checked: Checked, constants: Mapping[str, Any]) -> None:
        for name, node, state in named_states(checked.tree, constants):
            model = self.models.get(name)
            if model is not None and model.states and state not in model.states:
                message = f"model {model.name!r} has no state {shown(state)}.{did_you_mean(state, model.states)}"
                self.findings.error("MCP0023", message, checked.place(node))

    def _pattern(self, checked: Checked, pattern: Tree) -> None:
        if pattern.kind != "const":
            return
        try:
            re2 = importlib.import_module("re2")
        except ImportError:
            raise MissingExtra("google-re2", extra="policy", purpose="matches() in policies") from None
        try:
            re2.compile(pattern.value[1], _quiet(re2))
        except re2.error as error:
            first = error.args[0] if error.args else error
            reason = first.decode(errors="replace") if isinstance(first, bytes) else str(first)
            self.findings.error("MCP0027", f"RE2 refuses {shown(pattern.value[1])}: {reason}", checked.place(pattern))


def named_states(tree: Tree, constants: Mapping[str, Any]) -> Iterator[tuple[str, Tree, str]]:
    """Yield the states that a condition compares a model's state with: the model, where it stands, the state."""
    for node in walk(tree):
        if node.kind != "call" or node.value not in ("_==_", "_!=_", "@in"):
            continue
        for left, right in (node.args, node.args[::-1]):
            if left.kind == "select" and left.value == "state" and left.args[0].kind == "name":
                yield from ((left.args[0].value, place, state) for place, state in _strings(right, constants))


def _macro_depth(tree: Tree) -> int:
    inner = max(map(_macro_depth, tree.args), default=0)
    return inner + (tree.kind in MACROS)


def _plainly(what: str) -> str:
    """Say what cel-cpp says in the words of the expression's author."""
    if "'<EOF>'" in what and "Syntax error" in what and "extraneous" not in what:
        return "the condition ends too early"
    overload = _OVERLOAD.search(what)
    if overload:
        operator, kinds = overload[1].strip("_@"), overload[2].replace("mcp.", "")
        return f"{shown(operator)} does not take {kinds}"
    return re.sub(r" expecting [{'].*", "", what)


def _quiet(re2: Any) -> Any:
    options = re2.Options()
    options.log_errors = False
    return options


def _strings(tree: Tree, constants: Mapping[str, Any]) -> Iterator[tuple[Tree, str]]:
    if tree.kind == "const" and tree.value[0] == "string":
        yield tree, tree.value[1]
    elif tree.kind == "list":
        for child in tree.args:
            yield from _strings(child, constants)
    elif tree.kind == "name":
        value = constants.get(tree.value)
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, str):
                yield tree, item


def _offset(text: str, line: int, column: int) -> int:
    if line > text.count("\n") + 1:
        return 0
    start = 0
    for _ in range(line - 1):
        start = text.find("\n", start) + 1
    return min(start + max(column - 1, 0), len(text))
