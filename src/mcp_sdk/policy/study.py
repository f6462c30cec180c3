"""What the analysis knows of each rule: its condition as a shape, and where it matches, as boxes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mcp_sdk.models import BusinessModel
from mcp_sdk.policy.check import Checked
from mcp_sdk.policy.domains import Domain
from mcp_sdk.policy.normal import Form, forms
from mcp_sdk.policy.presence import models_of
from mcp_sdk.policy.regions import TENTATIVE, Box, Space
from mcp_sdk.policy.resources import AccessRule, LimitRule, Policy, Rule
from mcp_sdk.policy.shapes import shape_of

__all__ = ["RANKS", "Studied", "Study", "effect_of", "place_of", "refuses"]

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


@dataclass(frozen=True, slots=True)
class Studied:
    """One rule with its condition's shape, and the constants in it."""

    policy: Policy
    rule: Rule
    checked: Checked
    shape: Any
    params: tuple[str, ...]
    constants: tuple[Any, ...]

    @property
    def refusing(self) -> bool:
        """Whether an error makes it match."""
        return refuses(self.rule)


class Study:
    """Studies the rules of policies; the forms of a shape are found once."""

    def __init__(self, models: Mapping[str, BusinessModel]) -> None:
        self.models = models
        self.space = Space(models)
        self._forms: dict[tuple[str, tuple[str, ...], bool], tuple[Form, ...]] = {}

    def rules(self, policy: Policy, checked: Mapping[int, Checked]) -> Iterator[Studied]:
        """Yield the rules of a policy that did check, in order."""
        written: Sequence[Rule] = getattr(policy, "rules", ())
        for rule in written:
            condition = checked.get(id(rule.when))
            if condition is not None:
                found = shape_of(condition.tree, policy.constants)
                yield Studied(policy, rule, condition, found.shape, found.params, found.constants)

    def forms(self, shape: Any, params: tuple[str, ...], *, on_error: bool) -> tuple[Form, ...]:
        """Give the whole normal form of a shape."""
        key = (json.dumps(shape), params, on_error)
        found = self._forms.get(key)
        if found is None:
            found = self._forms[key] = forms(shape, params, on_error=on_error, whole=True)
        return found

    def matching(self, one: Studied, space: Space | None = None) -> list[Box]:
        """Give where a rule matches; a grant also needs contexts that are not tentative."""
        boxes = self.holding(one, on_error=one.refusing, space=space)
        if effect_of(one.rule) != "permit" or one.policy.allow_tentative:
            return boxes
        certain: Box = {(TENTATIVE, model): _CERTAIN for model in models_of(one.shape)}
        return [{**box, **certain} for box in boxes]

    def holding(self, one: Studied, *, on_error: bool = False, space: Space | None = None) -> list[Box]:
        """Give where a rule's condition is true; with ``on_error`` where it is not false."""
        found = self.forms(one.shape, one.params, on_error=on_error)
        return (space or self.space).boxes(found, one.constants)

    def part(self, one: Studied, *shapes: Any) -> list[Box]:
        """Give where all of some clauses of a rule are true."""
        joined = shapes[0]
        for shape in shapes[1:]:
            joined = ["call", "_&&_", "bool", joined, shape]
        return self.space.boxes(self.forms(joined, one.params, on_error=False), one.constants)
