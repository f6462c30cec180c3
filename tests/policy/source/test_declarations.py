"""What ``models.yaml`` declares, and mistakes in it, each at its place."""

from __future__ import annotations

import json

import pytest

from mcp_sdk.models import Attribute, BusinessModel
from mcp_sdk.policy.findings import Collector
from mcp_sdk.policy.source.declarations import read_models

GOOD = """\
models:
- name: order
  key: number
  state: status
  states: [created, paid, 404]
  transitions: {created: [paid], paid: []}
  attributes:
  - {name: amount, type: decimal, scale: 3, priority: -1, travels: false}
  - {name: card, sensitive: true, source: payment.card}
  enforce: true
  pseudonymise: true
  retention: 3600
- {name: user, principal: true}
"""


def found(text: str) -> list[tuple[str, int, int, str]]:
    """Give the findings on a file."""
    findings = Collector()
    read_models({"models.yaml": text}, findings)
    assert {finding.file for finding in findings.found} <= {"models.yaml"}
    return [(finding.code, finding.line, finding.column, finding.message) for finding in findings.sorted()]


def test_a_file_declares_models() -> None:
    """Every key of a model and of an attribute; what is left out is as in code."""
    findings = Collector()
    models = read_models({"models.yaml": GOOD}, findings)
    assert findings.found == []
    amount = Attribute("amount", "decimal", travels=False, scale=3, priority=-1)
    assert models == {
        "order": BusinessModel(
            "order",
            key="number",
            state="status",
            states=("created", "paid", "404"),
            transitions={"created": ["paid"], "paid": []},
            attributes=[amount, Attribute("card", sensitive=True, source="payment.card")],
            enforce=True,
            pseudonymise=True,
            retention=3600,
        ),
        "user": BusinessModel("user", principal=True),
    }


def test_what_a_model_writes_is_read_back() -> None:
    """A file holds what ``to_dict`` gives, for YAML holds JSON."""
    findings = Collector()
    [model] = [one for one in read_models({"m": GOOD}, findings).values() if one.name == "order"]
    again = read_models({"m": json.dumps({"models": [model.to_dict()]})}, findings)["order"]
    assert (again.to_dict(), findings.found) == (model.to_dict(), [])


@pytest.mark.parametrize(
    ("entry", "code", "column", "said"),
    [
        ("states: 5", "MCP0003", 25, "'states' is 5. Write it as states: [created, paid]"),
        ("states: [{a: 1}]", "MCP0003", 26, "a state is a name, not a mapping"),
        ("states: [true]", "MCP0003", 26, "a state is a name, not True. Quote it"),
        ("attributes: {x: [1]}", "MCP0003", 29, "Write it as attributes: [{name: amount, type: decimal}]"),
        ("attributes: [x]", "MCP0003", 30, "attributes[1] is 'x'. Write it as {name: amount, type: decimal}"),
        ("attributes: [{type: int}]", "MCP0005", 30, "attributes[1]: 'name' is required"),
        ("attributes: [{name: id}]", "MCP0029", 37, "'id' is built in"),
        ("attributes: [{name: a, tipe: int}]", "MCP0004", 40, "unknown key 'tipe'. Did you mean 'type'?"),
        ("attributes: [{name: a, type: itn}]", "MCP0007", 46, "'type' is 'itn'. Did you mean 'int'?"),
        ("attributes: [{name: a, scale: 10}]", "MCP0008", 47, "'scale' is 10; it goes from 0 to 9"),
        ("attributes: [{name: a}, {name: a}]", "MCP0028", 48, "attribute 'a' is declared twice"),
        ("attributes: [{name: code, sensitive: yes}]", "MCP0003", 54, "'sensitive' is true or false, not 'yes'"),
        ("transitions: [a]", "MCP0003", 30, "Write it as transitions: {created: [paid]}"),
        ("transitions: {a: b}", "MCP0003", 34, "'a' is a list, not 'b'"),
        ("states: [a, b], transitions: {a: [c]}", "MCP0030", 51, "names state 'c'."),
        ("states: [a, b], transitions: {c: [a]}", "MCP0030", 47, "names state 'c'."),
        ("stats: [a]", "MCP0004", 17, "unknown key 'stats'. Did you mean 'states'?"),
        ("key: a, key: b", "MCP0006", 25, "key 'key' is written twice"),
        ("retention: soon", "MCP0003", 28, "'retention' is seconds above 0, not 'soon'"),
        ("retention: .inf", "MCP0003", 28, "seconds above 0, not inf"),
        ("enforce: 1", "MCP0003", 26, "'enforce' is true or false, not 1"),
        ("key: no, attributes: [{name: no, sensitive: true}]", "MCP0031", 3, "the key 'no' is sensitive"),
    ],
)
def test_a_mistake_in_a_model_stands_at_its_place(entry: str, code: str, column: int, said: str) -> None:
    """With its code, and what to write instead."""
    text = f"models:\n- {{name: order, {entry}}}\n"
    first = found(text)[0]
    assert first[0] == code
    assert said in first[3]
    assert first[1] == 2
    assert first[2] == column


@pytest.mark.parametrize(
    ("text", "code", "line", "column", "said"),
    [
        ("", "MCP0003", 1, 1, "holds a list under 'models:', and this is nothing"),
        ("5", "MCP0003", 1, 1, "and this is 5"),
        ("[a]", "MCP0003", 1, 1, "and this is a list"),
        ("models:", "MCP0005", 1, 1, "'models' is required"),
        ("models: 5", "MCP0003", 1, 9, "'models' is 5. Write it as models: [{name: order"),
        ("models: [1]", "MCP0003", 1, 10, "models[1] is 1. Write it as {name: order}"),
        ("models: [{name: 5}]", "MCP0029", 1, 17, "model name '5' must be"),
        ("models: [{name: request}]", "MCP0029", 1, 17, "is reserved"),
        ("models: [{name: ''}]", "MCP0029", 1, 17, "model name '' must be"),
        ("models: []\nmodel: []", "MCP0004", 2, 1, "unknown key 'model'. Did you mean 'models'?"),
        ("models: [", "MCP0001", 2, 1, "not YAML"),
        ("models:\n- name: a\n- name: \udcff", "MCP0001", 3, 9, "byte 0xff is no UTF-8"),
        ("models:\n- name: a\n- name: a", "MCP0028", 3, 9, "'a' is declared twice, first at models.yaml:2"),
    ],
)
def test_a_mistake_in_a_file_stands_at_its_place(text: str, code: str, line: int, column: int, said: str) -> None:
    """Whatever the file holds."""
    first = found(text)[0]
    assert first[:3] == (code, line, column)
    assert said in first[3]


def test_names_are_unique_over_files() -> None:
    """The first by file name stays."""
    findings = Collector()
    models = read_models({"b.yaml": "models: [{name: a, key: b}]", "a.yaml": "models: [{name: a}]"}, findings)
    assert [(finding.code, finding.file) for finding in findings.found] == [("MCP0028", "b.yaml")]
    assert models["a"].key == "id"


def test_every_mistake_is_found_in_one_go() -> None:
    """One does not hide the others, nor the models that are sound."""
    findings = Collector()
    text = "models:\n- {name: a, states: 5, keey: b}\n- {name: b, retention: -1}\n- {name: c}\n"
    assert list(read_models({"m": text}, findings)) == ["c"]
    assert [(finding.code, finding.line) for finding in findings.sorted()] == [
        ("MCP0003", 2),
        ("MCP0004", 2),
        ("MCP0003", 3),
    ]
