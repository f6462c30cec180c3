"""What is left of the policies when everything but one entity is known: a condition over that entity's facts.

The tree has two values only. A ``Compare`` is true of an entity whose fact is there and passes, and false of any other,
so CEL's third value, the error, is already spoken for: ``Not`` and what is built of it mean what they mean in logic.
Values are those of programs: a decimal is an int of minor units, a timestamp an aware datetime.
"""

from __future__ import annotations

import dataclasses
import math
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, NamedTuple

from mcp_sdk.context import ModelContext, plain_value
from mcp_sdk.exceptions import ConfigurationError
from mcp_sdk.models import BusinessModel

__all__ = [
    "ALWAYS",
    "NEVER",
    "All",
    "Always",
    "Compare",
    "Condition",
    "Has",
    "Never",
    "Not",
    "Opaque",
    "Origin",
    "Residue",
    "Size",
    "Some",
    "all_of",
    "some_of",
]


class Origin(NamedTuple):
    """Where a part of a residue comes from: a rule of a policy, its clause as written, and ``file:line:column``."""

    policy: str = ""
    rule: str = ""
    clause: str = ""
    place: str = ""

    def __str__(self) -> str:
        return f"{self.place}: {self.clause!r} of rule {self.rule!r} of {self.policy!r}" if self.policy else "a target"


_NOWHERE = Origin()


@dataclass(frozen=True, slots=True)
class Always:
    """Every entity."""

    def holds(self, _: ModelContext) -> bool:
        """Tell whether it is true of an entity."""
        return True

    def to_dict(self) -> Any:
        """Give it as plain JSON."""
        return True


@dataclass(frozen=True, slots=True)
class Never:
    """No entity."""

    def holds(self, _: ModelContext) -> bool:
        """Tell whether it is true of an entity."""
        return False

    def to_dict(self) -> Any:
        """Give it as plain JSON."""
        return False


ALWAYS, NEVER = Always(), Never()


@dataclass(frozen=True, slots=True)
class All:
    """Every part is true."""

    parts: tuple[Condition, ...]

    def holds(self, item: ModelContext) -> bool:
        """Tell whether it is true of an entity."""
        return all(part.holds(item) for part in self.parts)

    def to_dict(self) -> Any:
        """Give it as plain JSON."""
        return {"all": [part.to_dict() for part in self.parts]}


@dataclass(frozen=True, slots=True)
class Some:
    """At least one part is true."""

    parts: tuple[Condition, ...]

    def holds(self, item: ModelContext) -> bool:
        """Tell whether it is true of an entity."""
        return any(part.holds(item) for part in self.parts)

    def to_dict(self) -> Any:
        """Give it as plain JSON."""
        return {"some": [part.to_dict() for part in self.parts]}


@dataclass(frozen=True, slots=True)
class Not:
    """The part is not true."""

    part: Has | Compare | Size

    def holds(self, item: ModelContext) -> bool:
        """Tell whether it is true of an entity."""
        return not self.part.holds(item)

    def to_dict(self) -> Any:
        """Give it as plain JSON."""
        return {"not": self.part.to_dict()}


@dataclass(frozen=True, slots=True)
class Has:
    """The fact is there."""

    field: str
    origin: Origin = dataclasses.field(default=_NOWHERE, compare=False, repr=False)

    def holds(self, item: ModelContext) -> bool:
        """Tell whether it is true of an entity."""
        return self.field in item.facts

    def to_dict(self) -> Any:
        """Give it as plain JSON."""
        return {"has": self.field}


@dataclass(frozen=True, slots=True)
class Compare:
    """The fact is there and passes: ``op`` is ``== != < <= > >= in starts_with ends_with contains`` or ``has_item``.

    ``value`` is of the fact's type; a tuple of such for ``in``; a string for ``has_item``, which asks a list.
    """

    field: str
    op: str
    value: Any
    origin: Origin = dataclasses.field(default=_NOWHERE, compare=False, repr=False)

    def holds(self, item: ModelContext) -> bool:
        """Tell whether it is true of an entity."""
        return self.field in item.facts and self.accepts(item.facts[self.field])

    def accepts(self, fact: Any) -> bool:
        """Tell whether a fact that is there passes; one of another type than declared does not."""
        try:
            return bool(_OPERATORS[self.op](_comparable(fact), self.value))
        except TypeError:
            return False

    def to_dict(self) -> Any:
        """Give it as plain JSON."""
        value = [_plain(one) for one in self.value] if self.op == "in" else _plain(self.value)
        return {"field": self.field, "op": self.op, "value": value}


@dataclass(frozen=True, slots=True)
class Size:
    """The fact is there, and its length (code points of a string, items of a list) compares as ``op`` says."""

    field: str
    op: str
    value: int
    origin: Origin = dataclasses.field(default=_NOWHERE, compare=False, repr=False)

    def holds(self, item: ModelContext) -> bool:
        """Tell whether it is true of an entity."""
        return self.field in item.facts and self.accepts(item.facts[self.field])

    def accepts(self, fact: Any) -> bool:
        """Tell whether a fact that is there passes."""
        return isinstance(fact, (str, tuple, list)) and bool(_OPERATORS[self.op](len(fact), self.value))

    def to_dict(self) -> Any:
        """Give it as plain JSON."""
        return {"size": self.field, "op": self.op, "value": self.value}


@dataclass(frozen=True, slots=True)
class Opaque:
    """What no test says, but can be asked of an entity in hand: ``why`` it is so, and how to mend it."""

    origin: Origin
    why: str
    ask: Callable[[ModelContext], bool] = dataclasses.field(compare=False, repr=False)

    def holds(self, item: ModelContext) -> bool:
        """Tell whether it is true of an entity."""
        return self.ask(item)

    def to_dict(self) -> Any:
        """Give it as plain JSON."""
        return {"opaque": self.origin.clause, "rule": self.origin.rule, "at": self.origin.place, "why": self.why}


Condition = Always | Never | All | Some | Not | Has | Compare | Size | Opaque


def all_of(parts: Iterable[Condition]) -> Condition:
    """Join conditions by "and", simplified."""
    kept = list(dict.fromkeys(_flat(parts, All)))
    if NEVER in kept:
        return NEVER
    kept = [part for part in kept if part != ALWAYS]
    return All(tuple(kept)) if len(kept) > 1 else kept[0] if kept else ALWAYS


def some_of(parts: Iterable[Condition]) -> Condition:
    """Join conditions by "or", simplified: equalities of one fact become one ``in``."""
    kept = list(dict.fromkeys(_flat(parts, Some)))
    if ALWAYS in kept:
        return ALWAYS
    kept = _gathered(part for part in kept if part != NEVER)
    return Some(tuple(kept)) if len(kept) > 1 else kept[0] if kept else NEVER


def _flat(parts: Iterable[Condition], kind: type[All | Some]) -> Iterator[Condition]:
    for part in parts:
        if isinstance(part, (All, Some)) and isinstance(part, kind):
            yield from part.parts
        else:
            yield part


def _gathered(parts: Iterable[Condition]) -> list[Condition]:
    found: dict[Any, Condition] = {}
    for part in parts:
        if not isinstance(part, Compare) or part.op not in ("==", "in"):
            found[part] = part
            continue
        values = part.value if part.op == "in" else (part.value,)
        held = found.get(part.field)
        if isinstance(held, Compare):
            before = held.value if held.op == "in" else (held.value,)
            part = replace(held, op="in", value=tuple(dict.fromkeys((*before, *values))))  # noqa: PLW2901
        found[part.field] = part
    return list(found.values())


@dataclass(frozen=True, slots=True)
class Residue:
    """Of which entities of ``model`` a call would be permitted, at ``revision`` of the policies.

    ``condition`` is ``ALWAYS``, ``NEVER`` or a tree. ``read`` gives the context of an object of the application's.
    """

    model: BusinessModel
    condition: Condition
    revision: int = 0
    read: Callable[[Any], ModelContext] | None = dataclasses.field(default=None, compare=False, repr=False)

    def holds(self, item: Any) -> bool:
        """Tell whether a call on an entity would be permitted: on its context, or on an object of the model's class.

        Raises ``ConfigurationError`` for an object where nothing says how to read it.
        """
        if isinstance(item, ModelContext):
            return self.condition.holds(item)
        if self.read is None:
            raise ConfigurationError(f"a {type(item).__name__} is no ModelContext, and this residue reads nothing else")
        return self.condition.holds(self.read(item))

    def to_dict(self) -> dict[str, Any]:
        """Give it as plain JSON; ``kind`` is ``always``, ``never`` or ``conditional``."""
        kind = {ALWAYS: "always", NEVER: "never"}.get(self.condition, "conditional")
        plain = {"kind": kind, "model": self.model.name, "revision": self.revision}
        return plain | {"condition": self.condition.to_dict()} if kind == "conditional" else plain


def _comparable(fact: Any) -> Any:
    return fact.replace(tzinfo=UTC) if isinstance(fact, datetime) and fact.tzinfo is None else fact


def _plain(value: Any) -> Any:
    return repr(value) if isinstance(value, float) and not math.isfinite(value) else plain_value(value)


_OPERATORS: Mapping[str, Callable[[Any, Any], Any]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "in": lambda fact, values: fact in values,
    "starts_with": lambda fact, part: fact[: len(part)] == part,
    "ends_with": lambda fact, part: fact[max(len(fact) - len(part), 0) :] == part,
    "contains": lambda fact, part: part in fact,
    "has_item": lambda fact, part: part in fact,
}
