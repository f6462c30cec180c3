"""Where the index put each rule: the facts that it is found by, or why it has none and is scanned."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from mcp_sdk.policy.cel.shapes import clause_shapes, expressions
from mcp_sdk.policy.engine import Engine
from mcp_sdk.policy.loading import LoadedPolicy
from mcp_sdk.policy.lookup.normal import Path, facts_of, forms, path_to
from mcp_sdk.policy.lookup.tree import Node
from mcp_sdk.policy.program import RuleRow, refuses

__all__ = ["Key", "Placement", "placements"]

SHOWN = 3


class Key(NamedTuple):
    """One step to a rule: a fact, ``by`` ``value prefix range presence absence``, and the constants it meets there."""

    path: Path
    by: str
    constants: tuple[Any, ...] = ()

    def __str__(self) -> str:
        name = ".".join(self.path)
        if self.by not in ("value", "prefix"):
            return f"{name} by {self.by}"
        some = ", ".join(map(_written, self.constants[:SHOWN]))
        more = f", … {len(self.constants) - SHOWN} more" if len(self.constants) > SHOWN else ""
        return f"{name} {'=' if self.by == 'value' else 'starts with'} {some}{more}"


@dataclass(frozen=True, slots=True)
class Placement:
    """One rule: ``ways`` lead to it, each of keys in turn; without any it is scanned, and ``why`` says why.

    ``sure``: what is found by its keys matches, and its condition is not asked.
    """

    policy: str
    kind: str
    rule: str
    clause: str
    line: int
    ways: tuple[tuple[Key, ...], ...]
    sure: bool
    why: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Give it as plain JSON."""
        plain: dict[str, Any] = {name: getattr(self, name) for name in ("policy", "kind", "rule", "clause", "line")}
        ways = [
            [{"fact": ".".join(key.path), "by": key.by, "constants": list(key.constants)} for key in way]
            for way in self.ways
        ]
        return plain | {"ways": ways, "scanned": not self.ways, "sure": self.sure, "why": self.why}

    def __str__(self) -> str:
        return " or ".join(", then ".join(map(str, way)) for way in self.ways) or f"scanned: {self.why}"


def placements(engine: Engine) -> Iterator[Placement]:
    """Yield the placement of every rule of the policies in force, policy by policy, in the order they are asked."""
    for policy in engine.policies:
        yield from _of_policy(engine, policy)


def _of_policy(engine: Engine, policy: LoadedPolicy) -> Iterator[Placement]:
    found: dict[int, _Found] = {}
    for number, keys, sure in _leaves(policy.index.tree.root):
        found.setdefault(number, _Found()).add(keys, sure=sure)
    for number, row in enumerate(policy.rows):
        held = found.get(number, _Found())
        ways = held.ways
        why = "" if ways else _why(engine, RuleRow.of(row), len(policy.rows))
        rule = RuleRow.of(row)
        yield Placement(policy.name, policy.kind, rule.name, rule.clause, rule.line, ways, held.sure, why)


class _Found:
    """What leads to one rule: the constants by the steps of a way."""

    def __init__(self) -> None:
        self.steps: dict[tuple[tuple[Path, str], ...], list[set[Any]]] = {}
        self.sure = True

    def add(self, keys: Sequence[Key], *, sure: bool) -> None:
        if keys:
            held = self.steps.setdefault(tuple((key.path, key.by) for key in keys), [set() for _ in keys])
            for constants, key in zip(held, keys, strict=True):
                constants.update(key.constants)
        else:
            self.steps[()] = []
        self.sure = self.sure and sure

    @property
    def ways(self) -> tuple[tuple[Key, ...], ...]:
        if () in self.steps:
            return ()
        ways = (
            tuple(Key(*step, tuple(sorted(values, key=str))) for step, values in zip(steps, constants, strict=True))
            for steps, constants in self.steps.items()
        )
        return tuple(sorted(ways, key=str))


def _leaves(root: Any) -> Iterator[tuple[int, tuple[Key, ...], bool]]:
    """Yield every rule of every leaf, with the keys that lead there."""
    stack: list[tuple[Any, tuple[Key, ...]]] = [(root, ())]
    while stack:
        part, keys = stack.pop()
        if isinstance(part, Node):
            stack.extend((child, (*keys, *key)) for child, key in _children(part))
        elif part is not None:
            for number in part if isinstance(part, tuple) else (part,):
                yield number if number >= 0 else ~number, keys, number >= 0


def _children(node: Node) -> Iterator[tuple[Any, tuple[Key, ...]]]:
    path = node.path
    yield from ((part, (Key(path, "value", (value,)),)) for value, part in node.table.items())
    yield from ((part, (Key(path, "prefix", (head,)),)) for head, part in node.heads.items())
    yield from ((part, (Key(path, "range"),)) for part in node.slots)
    yield node.present, (Key(path, "presence"),)
    yield node.absent, (Key(path, "absence"),)
    yield node.rest, ()


def _why(engine: Engine, rule: RuleRow, count: int) -> str:
    shape = engine.programs["shapes"][rule.shape]
    refusing = refuses(engine.programs["effects"][rule.effect])
    found = forms(shape["expr"], shape["params"], on_error=refusing)
    if all(facts_of(form, rule.constants) is None for form in found):
        return "its condition is never true"
    if count == 1:
        return "it is the only rule"
    if all(any(test.op != "has" for test in form.tests) for form in found):
        facts = sorted({".".join(test.path) for form in found for test in form.tests})
        return f"{', '.join(facts)}: so few rules differ in it that scanning them costs less"
    if shape["expr"][0] == "lit":
        return "it is always true"
    clauses = [part for part in clause_shapes(shape["expr"]) if part[0] != "has"] or [shape["expr"]]
    return "; ".join(dict.fromkeys(_keyless(part, refusing=refusing) for part in clauses))


def _keyless(clause: Any, *, refusing: bool) -> str:
    """Say why a clause gives no key."""
    names = dict.fromkeys(".".join(path) for node in expressions(clause) if (path := path_to(node)) is not None)
    facts = ", ".join(names) or "the request"
    if clause[0] == "call" and clause[1] == "_||_":
        return f"a part of || on {facts} gives no key"
    if clause[0] == "call" and clause[1] in _READABLE:
        function = _READABLE[clause[1]]
        return f"{function} on {facts} is no equality, list, prefix, range or presence against constants"
    if refusing:
        return f"an error on {facts} makes it match"
    return f"{facts} is compared with nothing constant"


_READABLE = {
    "contains": "contains()",
    "endsWith": "endsWith()",
    "startsWith": "startsWith()",
    "matches": "matches()",
    "size": "size()",
    "@in": "in",
    "_==_": "==",
    "_!=_": "!=",
    "_<_": "<",
    "_<=_": "<=",
    "_>_": ">",
    "_>=_": ">=",
    "!_": "!",
    "_?_:_": "?:",
}


def _written(constant: Any) -> str:
    return repr(constant) if isinstance(constant, str) else str(constant).lower()
