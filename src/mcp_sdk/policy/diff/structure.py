"""What changed between two programs that no single call shows: what is governed, in shadow, sticky; the models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mcp_sdk.models import BusinessModel
from mcp_sdk.policy.cel.schema import FIXED
from mcp_sdk.policy.cel.shapes import expressions
from mcp_sdk.policy.diff.witness import Side

__all__ = ["Note", "model_notes", "policy_notes", "target_notes"]

Plain = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Note:
    """One such change. ``matters`` when it may change what happens, though no call that was tried shows it."""

    kind: str
    text: str
    matters: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Give it as plain JSON."""
        return {"kind": self.kind, "text": self.text, "matters": self.matters}


def target_notes(old: Side, new: Side) -> Iterator[Note]:
    """Tell of services that policies govern in one of two programs only."""
    targets = [{(one["namespace"], one["service"]) for one in side.programs.get("policies", ())} for side in (old, new)]
    for namespace, service in sorted(targets[1] - targets[0]):
        yield Note("governed", f"service {_named(namespace, service)} is governed now", matters=True)
    for namespace, service in sorted(targets[0] - targets[1]):
        yield Note("governed", f"service {_named(namespace, service)} is governed by no policy any more", matters=True)


def _named(namespace: str, name: str) -> str:
    return repr(name) if namespace == "default" else f"{name!r} of namespace {namespace!r}"


def policy_notes(before: list[Plain], after: list[Plain], renamed: Mapping[tuple[str, str], str]) -> Iterator[Note]:
    """Tell of the policies of one target; ``renamed`` gives new names by kind and old name, where all else is equal."""
    old, new = ({(one["kind"], one["name"]): one for one in group} for group in (before, after))
    for key in sorted(old.keys() - new.keys()):
        said = f"is named {renamed[key]!r} now" if key in renamed else "is gone"
        yield Note("policy", f"{_policy(old[key])} {said}")
    known = {(kind, name) for (kind, _), name in renamed.items()}
    for key in sorted(new.keys() - old.keys() - known):
        yield Note("policy", f"{_policy(new[key])} is new")
    for key in sorted(old.keys() & new.keys()):
        yield from _flags(old[key], new[key])


def _flags(old: Plain, new: Plain) -> Iterator[Note]:
    name = _policy(new)
    if old["shadow"] != new["shadow"]:
        turned = (
            "goes into shadow: it is not enforced any more" if new["shadow"] else "leaves shadow: it is enforced now"
        )
        yield Note("shadow", f"{name} {turned}", matters=True)
    if old["kind"] == "AccessPolicy" and old["allow_tentative"] != new["allow_tentative"]:
        turned = "believes" if new["allow_tentative"] else "no longer believes"
        yield Note("allow_tentative", f"{name} {turned} contexts that are tentative when it grants")
    if sorted(old["operations"]) != sorted(new["operations"]):
        yield Note("operations", f"{name} governs {_operations(new)}, and governed {_operations(old)}")


def _policy(plain: Plain) -> str:
    return f"{plain['kind']} {plain['name']!r}"


def _operations(plain: Plain) -> str:
    return ", ".join(sorted(plain["operations"])) or "every operation"


def model_notes(old: Side, new: Side) -> Iterator[Note]:
    """Tell of changed models; a change matters where a policy reads the model's changed fact."""
    read = _read(old) | _read(new)
    for name in sorted(old.models.keys() | new.models.keys()):
        before, after = old.models.get(name), new.models.get(name)
        if before is None or after is None:
            said = "is declared now" if before is None else "is not declared any more"
            used = any(model == name for model, _ in read)
            yield Note("model", f"model {name!r} {said}", matters=used and after is None)
        else:
            yield from _model(before, after, read)


def _model(before: BusinessModel, after: BusinessModel, read: frozenset[tuple[str, str]]) -> Iterator[Note]:
    name = before.name
    if set(before.states) != set(after.states):
        added, removed = (sorted(set(a.states) - set(b.states)) for a, b in ((after, before), (before, after)))
        words = [f"{verb} {', '.join(states)}" for verb, states in (("gains", added), ("loses", removed)) if states]
        yield Note("model", f"model {name!r} {' and '.join(words)} as states", matters=(name, "state") in read)
    for attribute in sorted(before.attributes.keys() | after.attributes.keys()):
        said = [_declared(model, attribute) for model in (before, after)]
        if said[0] != said[1]:
            matters = (name, attribute) in read
            yield Note("model", f"{name}.{attribute} is {said[1]}, and was {said[0]}", matters=matters)


def _declared(model: BusinessModel, name: str) -> str:
    attribute = model.attributes.get(name)
    if attribute is None:
        return "not declared"
    kind = f"a {attribute.type}" + (f" of scale {attribute.scale}" if attribute.type == "decimal" else "")
    return f"{kind}, sensitive" if attribute.sensitive else kind


def _read(side: Side) -> frozenset[tuple[str, str]]:
    """Give the facts of models that any condition reads."""
    return frozenset(
        (node[1][1], node[2])
        for row in side.programs.get("shapes", ())
        for node in expressions(row["expr"])
        if node[0] in ("get", "has") and node[1][0] == "var" and node[1][1] not in FIXED
    )
