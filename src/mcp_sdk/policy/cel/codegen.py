"""Shapes → Python code objects, shared by the rules of a shape and visible in tracebacks.

A condition becomes a function ``(c, q)``: ``c`` the contexts by model, ``q`` the DecisionRequest. It comes in three
modes:

``value``     the CEL value, errors raised: for keys, stickiness, explanations;
``true``      whether the value is true: an error is false. For rules that grant or route;
``unless``    whether the value is anything but false: an error is true. For rules that refuse.

The last two need no error handling at ``&&``, ``||`` and ``!``: error absorption follows from what each operand becomes
(``true(a && b)`` is ``true(a) and true(b)``; ``true(!a)`` is ``not unless(a)``). Reads that a ``has()`` before them
guards, or that declared types prove to be there, stay bare.
"""

from __future__ import annotations

import linecache
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from mcp_sdk.policy.cel import logic, values
from mcp_sdk.policy.cel.functions import FUNCTIONS, TYPE_NAMES
from mcp_sdk.policy.cel.moments import CelError, Timestamp
from mcp_sdk.policy.cel.presence import Facts, cannot_err, known_when_false, known_when_true, path_of
from mcp_sdk.policy.cel.schema import FIXED
from mcp_sdk.policy.cel.shapes import clause_shapes, constant_from_plain

__all__ = ["MODES", "Factory", "compile_shape"]

MODES = ("value", "true", "unless")
_NOTHING: Facts = frozenset()
_PRIMITIVE = frozenset({"int", "uint", "double", "string", "bytes", "bool", "timestamp", "duration"})
_RAW = {"_==_": "==", "_!=_": "!=", "_<_": "<", "_<=_": "<=", "_>_": ">", "_>=_": ">="}
_FORMS: Mapping[tuple[str, str], str] = {
    ("_+_", "int"): "check_int({} + {})",
    ("_-_", "int"): "check_int({} - {})",
    ("_*_", "int"): "check_int({} * {})",
    ("_+_", "double"): "({} + {})",
    ("_-_", "double"): "({} - {})",
    ("_*_", "double"): "({} * {})",
    ("!_", "bool"): "(not {})",
    ("startsWith", "string"): "{}.startswith({})",
    ("endsWith", "string"): "{}.endswith({})",
    ("contains", "string"): "({1} in {0})",
    ("size", "string"): "len({})",
}
_HELPERS: Mapping[str, str] = {
    "all": "holds_for_all",
    "exists": "exists",
    "exists_one": "exists_one",
    "filter": "filter_over",
    "map_macro": "map_over",
}
_GLOBALS: dict[str, Any] = {
    **{name: value for name, value in vars(values).items() if callable(value) and not name.startswith("__")},
    **{name: getattr(logic, name) for name in logic.__all__},
    **{f"F_{number}": function for number, function in enumerate(FUNCTIONS.values())},
    "NOTHING": {},
    "Timestamp": Timestamp,
}
_FUNCTION_NAMES = {name: f"F_{number}" for number, name in enumerate(FUNCTIONS)}

Factory = Callable[..., Callable[[Any, Any], Any]]
"""Takes a rule's constants in order, and gives its condition."""


def _undefined(what: str) -> Any:
    raise CelError(what)


def _there(value: Any) -> Any:
    if value is None:
        raise CelError("absent")
    return value


_GLOBALS |= {"undefined": _undefined, "there": _there}


def compile_shape(
    row: Mapping[str, Any],
    mode: str,
    *,
    name: str,
    variables: Mapping[str, str] | None = None,
    given: Collection[int] = (),
) -> Factory:
    """Generate the code of a shape (``{"expr", "params"}``) in a mode, once for all its rules.

    ``name`` shows in tracebacks. ``variables`` gives the Python expressions of variables; by default those of
    decisions: a name that is no fixed variable is a model. ``given`` numbers the clauses (``clause_shapes``) known to
    be true, or in mode ``unless`` not false: they are left out. Raises ``SyntaxError``, ``RecursionError`` or
    ``MemoryError`` when the shape is larger than Python compiles, which a checked one never is.
    """
    writer = _Writer(row["params"], variables)
    if given:
        text = writer.conjunction(row["expr"], _NOTHING, on_error=mode == "unless", given=given)
    else:
        text = getattr(writer, mode)(row["expr"], _NOTHING)
    lines = [f"def make({', '.join(f'k{number}' for number in range(len(row['params'])))}):"]
    lines += [f"    {line}" for line in writer.constants]
    lines += ["    def condition(c, q):"]
    lines += [f"        {line}" for line in writer.prelude.values()]
    lines += [f"        return {text}", "    return condition", ""]
    source = "\n".join(lines)
    file = f"<mcp_sdk policy {name} {mode}>"
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    space: dict[str, Any] = dict(_GLOBALS)
    exec(compile(source, file, "exec"), space)  # noqa: S102 - the text is ours, made of checked shapes
    return _factory(space["make"], tuple(row["params"]))


def _factory(make: Callable[..., Any], params: tuple[str, ...]) -> Factory:
    def create(*constants: Any) -> Callable[[Any, Any], Any]:
        condition: Callable[[Any, Any], Any] = make(*map(_load, params, constants))
        return condition

    return create


def _load(kind: str, plain: Any) -> Any:
    value = constant_from_plain(kind, plain)
    return values.Uint(value) if kind == "uint" else value


class _Test(NamedTuple):
    """A comparison of a fact that may be absent with what cannot err; ``read`` gives None for absent."""

    function: str
    read: str
    kind: str
    other: Any
    swapped: bool


def _literal(value: Any) -> str:
    if value is True or value is False or value is None:
        return repr(value)
    raise ValueError(f"no literal of a shape: {value!r}")


@dataclass
class _Writer:
    params: list[str]
    variables: Mapping[str, str] | None
    constants: list[str] = field(default_factory=list)
    prelude: dict[str, str] = field(default_factory=dict)
    scope: dict[str, str] = field(default_factory=dict)
    fresh: int = 0

    def type(self, node: Any) -> str:
        """Give the static type of an expression."""
        if node[0] == "k":
            return str(self.params[node[1]])
        if node[0] == "lit":
            return "null" if node[1] is None else "bool"
        if node[0] == "has":
            return "bool"
        kind: str = node[3] if node[0] == "get" else node[1] if node[0] in ("list", "map") else node[2]
        return kind

    def value(self, node: Any, facts: Facts) -> str:
        """Write the expression that gives the CEL value or raises."""
        writers: Mapping[str, Callable[[Any, Facts], str]] = {
            "lit": lambda node, _: _literal(node[1]),
            "k": lambda node, _: f"k{self._number(node[1])}",
            "var": self._variable,
            "get": self._get,
            "has": self._has,
            "call": self._call,
            "list": lambda node, facts: f"[{', '.join(self.value(item, facts) for item in node[2:])}]",
            "map": lambda node, facts: f"build_map({', '.join(self.value(item, facts) for item in node[2:])})",
        }
        return writers.get(node[0], self._macro)(node, facts)

    def true(self, node: Any, facts: Facts) -> str:
        """Write what is true just when the value is true."""
        if node[0] == "call":
            function, args = node[1], node[3:]
            if function == "_&&_":
                return self.conjunction(node, facts, on_error=False)
            if function == "_||_":
                return f"({self.true(args[0], facts)} or {self.true(args[1], facts | self._denied(args[0], facts))})"
            if function == "!_":
                return f"(not {self.unless(args[0], facts)})"
        return self._leaf(node, facts, on_error=False)

    def unless(self, node: Any, facts: Facts) -> str:
        """Write what is true just when the value is not false."""
        if node[0] == "call":
            function, args = node[1], node[3:]
            if function == "_&&_":
                return self.conjunction(node, facts, on_error=True)
            if function == "_||_":
                return f"({self.unless(args[0], facts)} or {self.unless(args[1], facts | known_when_false(args[0]))})"
            if function == "!_":
                return f"(not {self.true(args[0], facts)})"
        return self._leaf(node, facts, on_error=True)

    def conjunction(self, node: Any, facts: Facts, *, on_error: bool, given: Collection[int] = ()) -> str:
        """Write the clauses that ``&&`` joins, each knowing what the ones before it say, less those that are given."""
        write, texts = self.unless if on_error else self.true, []
        for number, part in enumerate(clause_shapes(node)):
            if number not in given:
                texts.append(write(part, facts))
            if not on_error or cannot_err(part, facts):
                facts |= known_when_true(part)
        return f"({' and '.join(texts)})" if texts else "True"

    def _denied(self, node: Any, facts: Facts) -> Facts:
        return known_when_false(node) if cannot_err(node, facts) else _NOTHING

    def _leaf(self, node: Any, facts: Facts, *, on_error: bool) -> str:
        # A fact that is known to be there is asked for true or false all the same: a wrong value fails closed.
        if node[0] != "get" and self.type(node) == "bool" and cannot_err(node, facts):
            return self.value(node, facts)
        if quick := self._quick(node, facts, on_error=on_error):
            return quick
        if self.type(node) == "bool" and cannot_err(node, facts):
            return self.value(node, facts)
        return f"{'not_false' if on_error else 'is_true'}(lambda: {self.value(node, facts)})"

    def _quick(self, node: Any, facts: Facts, *, on_error: bool) -> str | None:
        """Write a comparison of one fact that may be absent with what cannot err, without an exception."""
        if node[0] == "get" and self.type(node) == "bool":
            read = self._maybe(node)
            return read and (f"({read} is not False)" if on_error else f"({read} is True)")
        if node[0] != "call" or len(node) != 5 or (node[1] not in _RAW and node[1] != "@in"):
            return None
        function, left, right = node[1], node[3], node[4]
        for maybe, other, swapped in ((left, right, False), (right, left, True)):
            read = self._maybe(maybe)
            if read and not path_in(maybe, facts) and cannot_err(other, facts) and not (swapped and function == "@in"):
                test = _Test(function, read, self.type(maybe), other, swapped)
                return self._absent(test, facts, on_error=on_error)
        return None

    def _absent(self, test: _Test, facts: Facts, *, on_error: bool) -> str | None:
        if test.kind not in _PRIMITIVE or test.kind in ("timestamp", "duration"):
            return None
        if test.function == "@in":
            members = self._members(test.other, test.kind)
            return members and self._known(test.read, "", f" in {members}", on_error=on_error)
        if self.type(test.other) != test.kind:
            return None
        compared, operator = self.value(test.other, facts), _RAW[test.function]
        if (operator, on_error) in (("==", False), ("!=", True)):
            return f"({test.read} {operator} {compared})"
        before, after = (f"{compared} {operator} ", "") if test.swapped else ("", f" {operator} {compared}")
        return self._known(test.read, before, after, on_error=on_error)

    def _known(self, read: str, before: str, after: str, *, on_error: bool) -> str | None:
        if self.scope:
            return None
        self.fresh += 1
        name = f"v{self.fresh}"
        tested = f"{before}{name}{after}"
        return (
            f"(({name} := {read}) is None or {tested})"
            if on_error
            else f"(({name} := {read}) is not None and {tested})"
        )

    def _maybe(self, node: Any) -> str | None:
        """Write the read of a model's fact that gives None when it is absent."""
        if self.variables is not None or node[0] != "get" or path_of(node) is None or node[3] == "timestamp":
            return None
        return f"{self._model(node[1][1])}.get({node[2]!r})"

    def _number(self, number: Any) -> int:
        if type(number) is not int or not 0 <= number < len(self.params):
            raise ValueError(f"no constant {number!r}")
        return number

    def _model(self, name: str) -> str:
        # A program may come from afar: only identifiers, numbers and reprs of it are written into code.
        if not (name.isidentifier() and name.isascii()):
            raise ValueError(f"{name!r} cannot name a model")
        self.prelude.setdefault(
            name,
            f"m_{name} = c.get({name!r}); "
            f"m_{name} = NOTHING if m_{name} is None else m_{name}._facts or m_{name}.facts",
        )
        return f"m_{name}"

    def _variable(self, node: Any, _: Facts) -> str:
        name, kind = node[1], node[2]
        if name in self.scope:
            return self.scope[name]
        known = self.variables.get(name) if self.variables is not None else self._decision_variable(name, kind)
        if known:
            return known
        if name in TYPE_NAMES:
            return f"CelType({name!r})"
        return f"undefined({f'undeclared reference to {name}'!r})"

    def _decision_variable(self, name: str, kind: str) -> str | None:
        if name == "now":
            return "Timestamp.of(q.now)"
        if name in FIXED:
            return f"q.{name}"
        return self._model(name) if kind == name else None

    def _get(self, node: Any, facts: Facts) -> str:
        operand, name, kind = node[1], node[2], node[3]
        owner = self.type(operand)
        if owner in FIXED and self.variables is None:
            if name not in FIXED[owner]:
                raise ValueError(f"{owner} has no {name!r}")
            read = f"{self.value(operand, facts)}.{name}"
            return f"Timestamp.of(there({read}))" if kind == "timestamp" else read
        if path_of(node) is not None and self.variables is None and operand[1] not in self.scope:
            read = f"{self._model(operand[1])}[{name!r}]"
            return f"Timestamp.of({read})" if kind == "timestamp" else read
        if owner.startswith("map<string,") and kind in _PRIMITIVE:
            return f"{self.value(operand, facts)}[{name!r}]"
        return f"select({self.value(operand, facts)}, {name!r})"

    def _has(self, node: Any, facts: Facts) -> str:
        operand, name = node[1], node[2]
        owner = self.type(operand)
        if owner in FIXED and self.variables is None:
            return self._has_fixed(owner, name, self.value(operand, facts))
        if operand[0] == "var" and owner == operand[1] and self.variables is None and operand[1] not in self.scope:
            return f"({name!r} in {self._model(operand[1])})"
        return f"present({self.value(operand, facts)}, {name!r})"

    def _has_fixed(self, owner: str, name: str, operand: str) -> str:
        kind = FIXED[owner][name]
        if kind == "string":
            return f"({operand}.{name} != '')"
        return f"({operand}.{name} is not None)" if kind == "timestamp" else "True"

    def _call(self, node: Any, facts: Facts) -> str:
        function, args = node[1], node[3:]
        if function in ("_&&_", "_||_"):
            return self._logical(function, args, facts)
        if function == "_?_:_":
            yes, no = (self.value(arg, facts) for arg in args[1:])
            if self.type(args[0]) == "bool":
                return f"({yes} if {self.value(args[0], facts)} else {no})"
            return f"conditional({self.value(args[0], facts)}, lambda: {yes}, lambda: {no})"
        if function not in _FUNCTION_NAMES:
            return f"undefined({f'unbound function {function}'!r})"
        texts = [self.value(arg, facts) for arg in args]
        return self._typed(function, args, texts) or f"{_FUNCTION_NAMES[function]}({', '.join(texts)})"

    def _logical(self, function: str, args: Any, facts: Facts) -> str:
        known = known_when_true(args[0]) if function == "_&&_" else known_when_false(args[0])
        sure = all(self.type(arg) == "bool" for arg in args) and cannot_err(args[0], facts)
        left, right = self.value(args[0], facts), self.value(args[1], facts | known if sure else facts)
        if sure:
            return f"({left} {'and' if function == '_&&_' else 'or'} {right})"
        return f"{'logical_and' if function == '_&&_' else 'logical_or'}(lambda: {left}, lambda: {right})"

    def _typed(self, function: str, args: Any, texts: list[str]) -> str | None:
        """Write an operator plainly where both types are known and equal."""
        kinds = [self.type(arg) for arg in args]
        if function == "@in":
            members = self._members(args[1], kinds[0])
            return members and f"({texts[0]} in {members})"
        if function == "_[_]":
            plain = kinds[0].startswith("map<string,") and kinds[0][11:-1] in _PRIMITIVE and kinds[1] == "string"
            return f"{texts[0]}[{texts[1]}]" if plain else None
        kind = kinds[0] if len(set(kinds)) == 1 else ""
        if function in _RAW and kind in _PRIMITIVE:
            return f"({texts[0]} {_RAW[function]} {texts[1]})"
        form = _FORMS.get((function, kind))
        return form and form.format(*texts)

    def _members(self, node: Any, kind: str) -> str | None:
        """Write a set of constants, or a list of facts, that ``in`` may ask plainly."""
        if self.type(node) != f"list<{kind}>" or kind not in ("string", "int"):
            return None
        if node[0] == "k":
            number = self._number(node[1])
            line = f"s{number} = frozenset(k{number})"
            if line not in self.constants:
                self.constants.append(line)
            return f"s{number}"
        return self.value(node, _NOTHING) if path_in(node, _NOTHING) or node[0] == "get" else None

    def _macro(self, node: Any, facts: Facts) -> str:
        kind, variable, over, bodies = node[0], node[1], self.value(node[3], facts), node[4:]
        self.fresh += 1
        outer, name = self.scope.get(variable), f"i{self.fresh}"
        self.scope[variable] = name
        written = [f"lambda {name}: {self.value(body, facts)}" for body in bodies]
        if outer is None:
            del self.scope[variable]
        else:
            self.scope[variable] = outer
        return f"{_HELPERS[kind]}({over}, {', '.join(written)})"


def path_in(node: Any, facts: Facts) -> bool:
    """Tell whether an expression reads a fact that is known to be there."""
    path = path_of(node)
    return path is not None and path in facts
