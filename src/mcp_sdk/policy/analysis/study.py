"""What the analysis knows of each rule: its condition as a shape, and where it matches, as boxes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from mcp_sdk.models import BusinessModel
from mcp_sdk.policy.analysis.regions import TENTATIVE, Box, Space
from mcp_sdk.policy.cel.presence import models_of, unguarded
from mcp_sdk.policy.cel.shapes import expressions, shape_of
from mcp_sdk.policy.check import Checked
from mcp_sdk.policy.lookup.domains import Domain
from mcp_sdk.policy.lookup.normal import Form, forms
from mcp_sdk.policy.source.resources import AccessRule, LimitRule, Policy, Rule

__all__ = ["RANKS", "Shape", "Studied", "Study", "effect_of", "place_of", "refuses"]

RANKS = {"deny": 0, "review": 1, "step_up": 2, "permit": 3}
_CERTAIN = Domain(frozenset({False}))


def refuses(rule: Rule) -> bool:
    """Tell whether a rule's effect refuses, so that it fails closed."""
    return isinstance(rule, LimitRule) or (isinstance(rule, AccessRule) and rule.effect != "permit")


def effect_of(rule: Rule) -> str:
    """Give the effect of a rule of an AccessPolicy; empty for others."""
    return rule.effect if isinstance(rule, AccessRule) else ""


def place_of(rule: Rule) -> str:
    """Name a rule and where it stands, for messages."""
    return f"{rule.name!r} ({rule.at.file}:{rule.at.line})"


class Shape:
    """One shape, shared by the rules that have it; what is asked of it is found once."""

    def __init__(self, expr: Any, params: tuple[str, ...]) -> None:
        self.expr, self.params = expr, params

    @cached_property
    def models(self) -> tuple[str, ...]:
        """The models that it looks at."""
        return models_of(self.expr)

    @cached_property
    def true(self) -> tuple[Form, ...]:
        """When it is true."""
        return forms(self.expr, self.params, on_error=False, whole=True)

    @cached_property
    def not_false(self) -> tuple[Form, ...]:
        """When it is true or errs."""
        return forms(self.expr, self.params, on_error=True, whole=True)

    @cached_property
    def unguarded(self) -> list[Any]:
        """The parts that can err."""
        return unguarded(self.expr, frozenset())

    @cached_property
    def functions(self) -> frozenset[str]:
        """The functions that it calls."""
        return frozenset(node[1] for node in expressions(self.expr) if node[0] == "call")


@dataclass(frozen=True, slots=True)
class Studied:
    """One rule with its condition's shape, and the constants in it."""

    policy: Policy
    rule: Rule
    checked: Checked
    shape: Shape
    constants: tuple[Any, ...]

    @property
    def refusing(self) -> bool:
        """Whether an error makes it match."""
        return refuses(self.rule)


class Study:
    """Studies the rules of policies."""

    def __init__(self, models: Mapping[str, BusinessModel]) -> None:
        self.models = models
        self.space = Space(models)
        self._shapes: dict[str, Shape] = {}

    def rules(self, policy: Policy, checked: Mapping[int, Checked]) -> Iterator[Studied]:
        """Yield the rules of a policy that did check, in order."""
        written: Sequence[Rule] = getattr(policy, "rules", ())
        for rule in written:
            condition = checked.get(id(rule.when))
            if condition is not None:
                found = shape_of(condition.tree, policy.constants)
                yield Studied(policy, rule, condition, self._shape(found.shape, found.params), found.constants)

    def _shape(self, expr: Any, params: tuple[str, ...]) -> Shape:
        key = json.dumps([expr, params])
        found = self._shapes.get(key)
        if found is None:
            found = self._shapes[key] = Shape(expr, params)
        return found

    def matching(self, one: Studied, space: Space | None = None) -> list[Box]:
        """Give where a rule matches; a grant also needs contexts that are not tentative."""
        boxes = self.holding(one, on_error=one.refusing, space=space)
        if effect_of(one.rule) != "permit" or one.policy.allow_tentative or not one.shape.models:
            return boxes
        certain: Box = {(TENTATIVE, model): _CERTAIN for model in one.shape.models}
        return [{**box, **certain} for box in boxes]

    def holding(self, one: Studied, *, on_error: bool = False, space: Space | None = None) -> list[Box]:
        """Give where a rule's condition is true; with ``on_error`` where it is not false."""
        found = one.shape.not_false if on_error else one.shape.true
        return (space or self.space).boxes(found, one.constants)

    def part(self, one: Studied, *shapes: Any) -> list[Box]:
        """Give where all of some clauses of a rule are true."""
        joined = shapes[0]
        for shape in shapes[1:]:
            joined = ["call", "_&&_", "bool", joined, shape]
        return self.space.boxes(self._shape(joined, one.shape.params).true, one.constants)
