"""One model, declared by two versions of a service that run side by side.

What both say is put together: states, moves and attributes of either. Where they contradict each other, no version is
chosen: the declaration is refused, and the difference named. Merging is commutative, associative where nothing is
refused, and idempotent, so the order in which versions start does not matter, and none of them flaps the other's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from mcp_sdk.exceptions import ModelError
from mcp_sdk.models import Attribute, BusinessModel

__all__ = ["additions", "differences", "merge", "merge_all", "unmoved"]

_MERGED = ("states", "transitions", "attributes", "enforce", "retention")
_SAME = ("name", "key", "state", "principal", "pseudonymise")
_SAME_OF_ATTRIBUTES = ("type", "scale", "sensitive", "travels")


def merge_all(held: Iterable[BusinessModel], declared: Iterable[BusinessModel]) -> tuple[BusinessModel, ...]:
    """Give the declared models as they are to be kept beside the held ones: merged where a name is held already.

    Raises ``ModelError`` that names every difference.
    """
    kept = {model.name: model for model in held}
    found: dict[str, BusinessModel] = {}
    refused: list[str] = []
    for model in declared:
        other = found.get(model.name) or kept.get(model.name)
        refused += differences(other, model) if other is not None else []
        if not refused:
            found[model.name] = model if other is None else merge(other, model)
    if refused:
        raise _refusal(refused)
    return tuple(found.values())


def merge(one: BusinessModel, other: BusinessModel) -> BusinessModel:
    """Give the model that both declare. One that says nothing of states, moves or retention takes the other's.

    Raises ``ModelError`` where they contradict each other.
    """
    refused = differences(one, other)
    if refused:
        raise _refusal(refused)
    return replace(
        one,
        states=_states(one, other),
        transitions=_transitions(one, other),
        attributes={name: _attribute(name, one, other) for name in sorted({*one.attributes, *other.attributes})},
        enforce=one.enforce or other.enforce,
        retention=other.retention if one.retention is None else one.retention,
        python_type=None,
        states_enum=None,
    )


def differences(one: BusinessModel, other: BusinessModel) -> list[str]:
    """Give what two declarations of a model contradict each other in, a line each; empty where they merge."""
    found = [
        f"{one.name}: {name} is {getattr(one, name)!r} and {getattr(other, name)!r}"
        for name in _SAME
        if getattr(one, name) != getattr(other, name)
    ]
    if None not in (one.retention, other.retention) and one.retention != other.retention:
        found.append(f"{one.name}: retention is {one.retention!r} and {other.retention!r}")
    states = {*one.states, *other.states}
    moved = {each for model in (one, other) for start, ends in model.transitions.items() for each in (start, *ends)}
    found += [
        f"{one.name}: a move names {each!r}, which is none of the states" for each in sorted(moved - (states or moved))
    ]
    for name in sorted({*one.attributes} & {*other.attributes}):
        left, right = one.attributes[name], other.attributes[name]
        found += [
            f"{one.name}.{name}: {what} is {getattr(left, what)!r} and {getattr(right, what)!r}"
            for what in _SAME_OF_ATTRIBUTES
            if getattr(left, what) != getattr(right, what)
        ]
    return found


def additions(held: BusinessModel, declared: BusinessModel) -> list[str]:
    """Give what a declaration would change of the model that is held, a line each; empty where it says nothing more.

    Contradictions are among them. The order of states, and of attributes, is none.
    """
    found = differences(held, declared)
    if found:
        return found
    merged = merge(held, declared)
    changed = [name for name in _MERGED if _compared(held, name) != _compared(merged, name)]
    return [f"{held.name}: {name} would be {_said(merged, name)}" for name in changed]


def _compared(model: BusinessModel, name: str) -> Any:
    return set(model.states) if name == "states" else getattr(model, name)


def _said(model: BusinessModel, name: str) -> str:
    plain = model.to_dict()[name]
    return f"{[each['name'] for each in plain] if name == 'attributes' else plain!r:.200}"


def unmoved(names: Iterable[str], stored: Mapping[str, BusinessModel], held: Iterable[BusinessModel] | None) -> bool:
    """Tell whether the models of some names are stored as ``held`` has them, so that what was merged with those holds.

    Without ``held`` nothing is compared.
    """
    if held is None:
        return True
    before = {model.name: model for model in held}
    return all(stored.get(name) == before.get(name) for name in names)


def _states(one: BusinessModel, other: BusinessModel) -> tuple[str, ...]:
    return one.states if one.states == other.states else tuple(sorted({*one.states, *other.states}))


def _transitions(one: BusinessModel, other: BusinessModel) -> Mapping[str, frozenset[str]]:
    starts = sorted({*one.transitions, *other.transitions})
    return {start: one.transitions.get(start, _NONE) | other.transitions.get(start, _NONE) for start in starts}


def _attribute(name: str, one: BusinessModel, other: BusinessModel) -> Attribute:
    left, right = one.attributes.get(name), other.attributes.get(name)
    if left is None or right is None:
        return left or right or Attribute(name)
    return replace(left, priority=max(left.priority, right.priority), source="")


def _refusal(found: Iterable[str]) -> ModelError:
    return ModelError(
        "declared otherwise by another version, and neither is chosen: " + "; ".join(found) + ". Declare a new name, "
        "or have an operator replace what is held: POST /v1/models?replace=true"
    )


_NONE: frozenset[str] = frozenset()
