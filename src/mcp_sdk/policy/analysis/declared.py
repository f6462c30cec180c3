"""Conditions against what models declare: states that nothing leads to, attributes that do not travel, idle clauses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping
from typing import Any

from mcp_sdk.models import BusinessModel
from mcp_sdk.policy.analysis.regions import Box
from mcp_sdk.policy.analysis.study import Studied, Study
from mcp_sdk.policy.cel.syntax import Tree, walk
from mcp_sdk.policy.check import Checked, named_states
from mcp_sdk.policy.findings import Collector
from mcp_sdk.policy.lookup.normal import OPAQUE, Path
from mcp_sdk.policy.source.fields import Fields, shown
from mcp_sdk.policy.source.reading import MapNode, Scalar, read_documents
from mcp_sdk.policy.source.resources import Policy

__all__ = ["check_attributes", "check_models", "check_states", "check_values", "unreachable"]


def unreachable(model: BusinessModel) -> tuple[str, ...]:
    """Give the declared states that no way along the transitions leads to, in order.

    Entities begin in the first state that is declared, and in those that moves lead out of and none into. Without
    transitions any move is allowed, and every state can be reached.
    """
    if not model.states or not model.transitions:
        return ()
    waiting = _beginnings(model)
    reached: set[str] = set()
    while waiting:
        state = waiting.pop()
        if state not in reached:
            reached.add(state)
            waiting += model.transitions.get(state, ())
    return tuple(state for state in model.states if state not in reached)


def check_states(checked: Checked, policy: Policy, idle: Mapping[str, Container[str]], findings: Collector) -> None:
    """Report states in a condition that nothing leads to; ``idle`` gives those by model."""
    for name, node, state in named_states(checked.tree, policy.constants) if idle else ():
        if state in idle.get(name, ()):
            message = f"{_never(name, state)}; a condition on it waits for ever"
            findings.report("MCP0112", message, checked.place(node))


def _never(model: str, state: str) -> str:
    return f"no transition of model {model!r} leads to state {shown(state)}"


def check_attributes(checked: Checked, models: Mapping[str, BusinessModel], findings: Collector) -> None:
    """Report reads of attributes that are declared not to travel, once in a condition; one that asks has() knows."""
    reads: dict[tuple[str, str, str], Tree] = {}
    for node in walk(checked.tree):
        if node.kind in ("select", "has") and node.args[0].kind == "name" and node.args[0].type == node.args[0].value:
            reads.setdefault((node.kind, node.args[0].value, node.value), node)
    for (kind, name, read), node in reads.items():
        model = models.get(name)
        attribute = model.attributes.get(read) if model else None
        if attribute is not None and not attribute.travels and kind == "select" and ("has", name, read) not in reads:
            findings.report("MCP0114", _stays(name, read), checked.place(node))


def _stays(model: str, attribute: str) -> str:
    return (
        f"no service propagates {model}.{attribute}: it is declared travels: false. A call that brings its {model} in"
        " baggage has it absent; only a target that looks the entity up, or changed it itself, knows it"
    )


def check_values(one: Studied, study: Study, findings: Collector) -> None:
    """Report values that a condition asks for and its other clauses exclude, and clauses that name every state."""
    tests = dict.fromkeys(test for form in one.shape.true for test in form.tests if test.path[0] != OPAQUE)
    asked = Counter(test.path for test in tests)
    boxes = study.holding(one) if len(asked) < len(tests) else []
    for test in tests:
        if test.op not in ("==", "in"):
            continue
        operand = test.operand(one.constants)
        values = operand if isinstance(operand, list) else [operand]
        if _every_state(test.path, values, study):
            _idle(one, test.path, findings)
        for value in values if boxes and asked[test.path] > 1 else ():
            if _somewhere(test.path, value, boxes):
                continue
            said = _said(test.path, value, study.models)
            message = f"{said} can never hold here: other clauses of rule {one.rule.name!r} exclude it"
            findings.report("MCP0110", message, one.checked.place(_literal(one.checked.tree, value)))


def _said(path: Path, value: Any, models: Mapping[str, BusinessModel]) -> str:
    model = models.get(path[0])
    attribute = model.attributes.get(path[-1]) if model else None
    decimal = attribute is not None and attribute.type == "decimal"
    return f"{'.'.join(path)} == {attribute.present(value) if attribute and decimal else shown(value)}"


def _somewhere(path: Path, value: Any, boxes: Iterable[Box]) -> bool:
    return any(path not in box or value in box[path] for box in boxes)


def _every_state(path: Path, values: Iterable[Any], study: Study) -> bool:
    model = study.models.get(path[0])
    return model is not None and path[1:] == ("state",) and len(model.states) > 1 and set(model.states) <= set(values)


def _idle(one: Studied, path: Path, findings: Collector) -> None:
    message = f"rule {one.rule.name!r} names every state of {path[0]!r}: the clause is as good as has({path[0]}.state)"
    findings.report("MCP0111", message, one.checked.condition.place(0))


def _literal(tree: Tree, value: Any) -> Tree:
    found = (node for node in walk(tree) if node.kind == "const" and node.value[1] == value)
    return next(found, tree)


def check_models(sources: Mapping[str, str], models: Mapping[str, BusinessModel], findings: Collector) -> None:
    """Report declared states that nothing leads to, at their places in the files (by name) that declare the models."""
    for file in sorted(sources):
        for name, states in _declarations(sources[file], file):
            model = models.get(name)
            idle = unreachable(model) if model else ()
            for state in states:
                if model is not None and state.text in idle:
                    begin = ", ".join(map(repr, _beginnings(model)))
                    message = f"{_never(name, state.text)} from where its entities begin ({begin})"
                    findings.report("MCP0113", message, state)


def _beginnings(model: BusinessModel) -> list[str]:
    entered = {end for start, ends in model.transitions.items() for end in ends if end != start}
    leading = {start for start, ends in model.transitions.items() if ends} - entered
    return [state for state in model.states if state == model.states[0] or state in leading]


def _declarations(text: str, file: str) -> Iterator[tuple[str, list[Scalar]]]:
    quiet = Collector()
    for document in read_documents(text, file, quiet):
        if isinstance(document, MapNode):
            for node in Fields(document, "models", quiet).sequence("models"):
                if isinstance(node, MapNode):
                    fields = Fields(node, "model", quiet)
                    states = [state for state in fields.sequence("states") if isinstance(state, Scalar)]
                    yield fields.string("name"), states
