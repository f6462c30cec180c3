"""``mcpctl policy check`` from its command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

CODES = ["MCP0113", "MCP0102", "MCP0115"]


def test_each_finding_is_shown_where_it_stands(run, policies) -> None:
    """The model's file too: file, line, column, severity, code, the line and a mark."""
    status, out, err = run("policy", "check", "policies")
    assert status == 0
    assert [line.split()[2].rstrip(":") for line in out.splitlines() if line.startswith("policies/")] == CODES
    assert "     8 |   - {name: huge, when: order.amount > 5000, effect: permit}\n       |     ^\n" in out
    assert err == "1 file: 0 errors, 2 warnings, 1 note\n"


@pytest.mark.parametrize(("least", "status"), [("error", 0), ("warning", 1), ("note", 1)])
def test_fail_on_says_what_fails(run, policies, least: str, status: int) -> None:
    """A check fails on findings as bad as asked for, whatever the form of the output."""
    for form in ("table", "json", "yaml", "sarif"):
        assert run("policy", "check", "policies", "--fail-on", least, "-o", form)[0] == status
    (policies / "models.yaml").write_text("models:\n- {name: order, attributes: [{name: amount, type: decimal}]}\n")
    (policies / "orders.yaml").write_text((policies / "orders.yaml").read_text().replace("> 5000", "< 500"))
    assert run("policy", "check", "policies", "--fail-on", least)[0] == (1 if least == "note" else 0)


def test_machines_get_every_finding(run, policies) -> None:
    """JSON and SARIF hold the same findings, and say that none was left out."""
    plain = json.loads(run("policy", "check", "policies", "-o", "json")[1])
    assert ([finding["code"] for finding in plain["findings"]], plain["left_out"]) == (CODES, 0)
    results = json.loads(run("policy", "check", "policies", "-o", "sarif")[1])["runs"][0]["results"]
    assert [result["ruleId"] for result in results] == CODES


def test_ten_thousand_errors_are_a_readable_report(run, policies: Path) -> None:
    """People get some of each kind and how many there are; machines all up to the bound, and that it cut."""
    rules = "".join(f"  - {{name: r{number}, effect: permit}}\n" for number in range(10_020))
    head = "kind: AccessPolicy\nmetadata: {name: many}\nspec:\n  target: {service: s}\n  default: deny\n  rules:\n"
    (policies / "orders.yaml").write_text(head + rules)
    status, out, err = run("policy", "check", "policies")
    assert (status, len(out.splitlines()) < 200) == (1, True)
    assert "… and 9 950 more MCP0005 of this kind in policies/orders.yaml; --all shows them\n" in out
    assert out.endswith("21 more findings are over the bound of 10 000; mend these first\n")
    assert err == "1 file: 10000 errors, 0 warnings, 0 notes\n"
    plain = json.loads(run("policy", "check", "policies", "-o", "json")[1])
    assert (len(plain["findings"]), plain["left_out"]) == (10_000, 21)


@pytest.mark.parametrize("form", ["table", "json", "sarif"])
def test_a_mistake_in_the_models_is_a_finding(run, policies: Path, form: str) -> None:
    """With code, file, line and column, in every form; the policies wait until it is mended."""
    (policies / "models.yaml").write_text("models:\n- name: order\n  states: 5\n")
    status, out, err = run("policy", "check", "policies", "-o", form)
    assert status == 1
    if form == "table":
        said = "policies/models.yaml:3:11: error MCP0003: model 'order': 'states' is 5. "
        said += "Write it as states: [created, paid]"
        assert out == f"{said}\n     3 |   states: 5\n       |           ^\n"
        assert err.endswith("the policies are checked once the models are mended\n")
    elif form == "json":
        [finding] = json.loads(out)["findings"]
        assert [finding[name] for name in ("code", "file", "line", "column")] == [
            "MCP0003",
            "policies/models.yaml",
            3,
            11,
        ]
    else:
        [result] = json.loads(out)["runs"][0]["results"]
        assert result["locations"][0]["physicalLocation"]["region"] == {"startLine": 3, "startColumn": 11}
