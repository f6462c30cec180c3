"""``mcpctl policy test``."""

from __future__ import annotations

import json
from collections.abc import Callable
from xml.etree import ElementTree as ET

import pytest

Shell = Callable[..., int]


def test_cases_that_hold_pass(shell) -> None:
    """With a line that counts them."""
    assert shell("policy", "test", ".") == 0
    assert (shell.out, shell.err) == ("", "2 cases in 1 file: 2 passed, 0 failed\n")


def test_a_case_that_fails_is_told_with_its_place_and_the_clause(shell) -> None:
    """Expected, observed, and what the rule saw."""
    shell.write("orders.yaml", (shell.folder / "orders.yaml").read_text().replace("1000", "2000"))
    assert shell("policy", "test", ".") == 1
    assert shell.out.splitlines() == [
        "FAIL  orders_test.yaml:2:3: a large order",
        "  route: expected {version: v2}, observed {version: v1}",
        "  permit, route to version=v1: route by the default of 'orders' (version=v1).",
        "  orders: rule 'large' did not match: order.amount > 2000 is false (order.amount is 1500.00)",
    ]


def test_cases_are_told_apart_from_policies_and_models(shell) -> None:
    """By every verb that reads a folder, whichever way the file of cases is named."""
    shell.write("models.test.yaml", "cases: []")
    assert shell("policy", "check", ".", "--fail-on", "note") == 0
    assert shell.err.startswith("1 file:")
    assert shell("apply", ".", "-s", "memory:", "--dry-run") in (0, 3)
    assert "orders_test.yaml" not in shell.err
    assert shell("explain", "orders", "order.amount=1500", "-p", ".") == 0


def test_a_file_of_cases_is_tested_against_the_policies_beside_it(shell) -> None:
    """And no other file's cases run."""
    shell.write("other_test.yaml", "cases: nonsense")
    assert shell("policy", "test", "orders_test.yaml") == 0
    assert "2 cases in 1 file" in shell.err


def test_some_cases_may_be_chosen_and_listed(shell) -> None:
    """``--run`` looks in the file's name and the case's, ``-v`` lists what passes too."""
    assert shell("policy", "test", ".", "--run", "orders.*small", "-v") == 0
    assert shell.out == "pass  orders_test.yaml:6:3: a small order\n"


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("--run", "nothing like it"), "no case matches --run 'nothing like it'"),
        (("--run", "("), "is no regular expression"),
        (("--fail-under", "101"), "'101' is no percentage from 0 to 100"),
        (("--fail-under", "nan"), "'nan' is no percentage"),
    ],
)
def test_wrong_usage_is_said(shell, argv: tuple[str, ...], said: str) -> None:
    """A pattern that selects nothing tests nothing, which is no success."""
    assert shell("policy", "test", ".", *argv) == 2
    assert said in shell.err


def test_a_folder_without_cases_is_no_success(shell) -> None:
    """It says how files of cases are called."""
    (shell.folder / "orders_test.yaml").unlink()
    assert shell("policy", "test", ".") == 2
    assert shell.err == "no cases in .; files of cases are called *_test.yaml or *.test.yaml\n"
    shell.write("orders.test.yml", "cases: []")
    assert shell("policy", "test", ".") == 2


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("orders_test.yaml", "cases: [{name: x, servce: orders}]", "orders_test.yaml:1:19: error MCP0004"),
        ("orders_test.yaml", "cases: [", "orders_test.yaml:2:1: error MCP0001"),
        ("orders.yaml", "kind: TrafficPolisy", "orders.yaml:1:7: error MCP0007"),
    ],
)
def test_a_mistake_in_a_file_is_a_finding(shell, name: str, text: str, said: str) -> None:
    """In policies as in cases, and no case runs."""
    shell.write(name, text)
    assert shell("policy", "test", ".", "--junit", "report.xml") == 1
    assert said in shell.out
    assert "no case was run" in shell.err
    root = ET.parse(shell.folder / "report.xml").getroot()
    assert int(root.get("errors", "")) > 0
    assert root.get("failures") == "0"


def test_ten_thousand_failures_print_as_a_readable_report(shell) -> None:
    """Twenty are shown, all are counted, and machines get every one."""
    row = "- {{name: n{}, service: orders, contexts: {{order: {{amount: 5}}}}, expect: {{route: {{version: v9}}}}}}\n"
    shell.write("orders_test.yaml", "cases:\n" + "".join(map(row.format, range(10_000))))
    assert shell("policy", "test", ".") == 1
    assert shell.out.count("FAIL") == 20
    assert shell.out.endswith("… and 9980 failing cases more; -o json has all\n")
    assert "0 passed, 10000 failed" in shell.err


def test_machines_get_json(shell) -> None:
    """Cases with differences, counts and coverage."""
    shell.write("orders_test.yaml", "cases:\n- {name: x, service: orders, expect: {route: {version: v2}}}\n")
    assert shell("policy", "test", ".", "-o", "json", "--coverage") == 1
    plain = json.loads(shell.out)
    assert (plain["passed"], plain["counts"]) == (False, {"cases": 1, "failed": 1})
    (case,) = plain["cases"]
    assert (case["file"], case["line"], case["name"], case["passed"]) == ("orders_test.yaml", 2, "x", False)
    assert case["differences"] == [{"aspect": "route", "expected": "{version: v2}", "observed": "{version: v1}"}]
    assert plain["coverage"]["rules"] == {"tried": 0, "total": 1, "percent": 0.0}
    assert [one["spoke"] for one in plain["coverage"]["policies"]] == [0, 1]


def test_too_little_coverage_fails(shell) -> None:
    """And says what was never tried."""
    assert shell("policy", "test", ".", "--fail-under", "80") == 0
    assert shell("policy", "test", ".", "--fail-under", "90") == 1
    assert shell.out.splitlines() == [
        "policy  rule     spoke  matched  values  never tried",
        "orders  large    1      1        3/4     has(order.amount) was never false",
        "orders  default  1",
        "",
        "rules 1 of 1 (100 %), defaults 1 of 1 (100 %), values of conditions 3 of 4 (75 %)",
    ]
    assert shell.err.endswith("5 of 6 (83.3 %) covered, under the 90 % that are asked for\n")


def test_coverage_is_written_as_lcov(shell) -> None:
    """A rule is a line, a part of its condition two branches."""
    assert shell("policy", "test", ".", "--lcov", "lcov.info") == 0
    assert (shell.folder / "lcov.info").read_text().splitlines() == [
        "TN:",
        "SF:orders.yaml",
        "DA:7,1",
        "BRDA:7,0,0,2",
        "BRDA:7,0,1,0",
        "BRDA:7,1,0,1",
        "BRDA:7,1,1,1",
        "DA:1,1",
        "end_of_record",
    ]


def test_a_report_that_cannot_be_written_is_said(shell) -> None:
    """In a line, with the status of what broke."""
    assert shell("policy", "test", ".", "--junit", "nowhere/report.xml") == 3
    assert "nowhere/report.xml" in shell.err
