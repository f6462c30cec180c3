"""JUnit XML: well-formed whatever a case holds, and in the form that CI servers read."""

from __future__ import annotations

from xml.etree import ElementTree as ET

from hypothesis import given
from hypothesis import strategies as st

from mcp_sdk.cli.policy.case_run import CaseRun
from mcp_sdk.cli.policy.junit import junit_xml
from mcp_sdk.exceptions import Finding


def test_a_report_names_files_cases_and_failures(shell) -> None:
    """A suite for a file, with counts, and a failure with the whole explanation."""
    cases = (shell.folder / "orders_test.yaml").read_text().replace("15.00", "1001.00")
    shell.write("orders_test.yaml", cases)
    assert shell("policy", "test", ".", "--junit", "report.xml") == 1
    root = ET.parse(shell.folder / "report.xml").getroot()
    assert {name: root.get(name) for name in ("tests", "failures", "errors", "skipped")} == {
        "tests": "2",
        "failures": "1",
        "errors": "0",
        "skipped": "0",
    }
    (suite,) = root
    assert (suite.tag, suite.get("name"), suite.get("tests")) == ("testsuite", "orders_test.yaml", "2")
    good, bad = suite
    assert list(good) == []
    assert (bad.get("name"), bad.get("file"), bad.get("line")) == ("a small order", "orders_test.yaml", "6")
    assert float(bad.get("time", "")) >= 0
    (failure,) = bad
    assert failure.get("message") == "route: expected {version: v1}, observed {version: v2}"
    assert "order.amount > 1000 is true (order.amount is 1001.00)" in str(failure.text)


def test_what_xml_cannot_hold_is_written_with_backslashes(shell) -> None:
    """A control character in what was expected breaks no report."""
    case = 'cases: [{name: "<x & \\"y\\">", service: orders, expect: {route: {version: "a\\0\\x1b<b>"}}}]'
    shell.write("orders_test.yaml", case)
    assert shell("policy", "test", ".", "--junit", "report.xml") == 1
    (element,) = ET.parse(shell.folder / "report.xml").getroot().iter("testcase")
    assert element.get("name") == '<x & "y">'
    assert "\\x00\\x1b<b>" in str(element[0].get("message"))


@given(text=st.text(), file=st.text(min_size=1))
def test_any_text_makes_well_formed_xml(text: str, file: str) -> None:
    """Surrogates, control characters and markup alike."""
    xml = junit_xml(CaseRun((), (Finding("MCP0004", text, file, 1, 2),)))
    root = ET.fromstring(xml.encode())
    assert root.get("errors") == "1"
