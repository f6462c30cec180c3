"""The SARIF log against what version 2.1.0 requires."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mcp_sdk.cli.policy.sarif import sarif
from mcp_sdk.exceptions import Finding
from mcp_sdk.policy.findings import CODES, Report

KNOWN = {
    "log": {"$schema", "version", "runs"},
    "run": {"tool", "columnKind", "invocations", "results"},
    "driver": {"name", "version", "rules"},
    "rule": {"id", "shortDescription", "help", "defaultConfiguration"},
    "result": {"ruleId", "ruleIndex", "level", "message", "locations", "partialFingerprints"},
}
"""The properties of the schema that a log uses; the schema allows no others."""


def log(*findings: Finding, left_out: int = 0, **sources: str) -> dict[str, Any]:
    """Give the log of some findings, as a reader of it gets it."""
    plain: dict[str, Any] = json.loads(json.dumps(sarif(Report(findings, left_out), sources)))
    return plain


def test_a_log_has_what_the_schema_requires() -> None:
    """Version, one run with a named tool, rules with unique ids and texts, results with messages and places."""
    plain = log(Finding("MCP0021", "no", "p/a b.yaml", 3, 7), Finding("MCP0102", "no", "p.yaml", 0, 0, "warning"))
    (run,) = plain["runs"]
    driver = run["tool"]["driver"]
    assert (set(plain), plain["version"], set(run)) == (KNOWN["log"], "2.1.0", KNOWN["run"])
    assert run["columnKind"] in ("utf16CodeUnits", "unicodeCodePoints")
    assert (set(driver), [rule["id"] for rule in driver["rules"]]) == (KNOWN["driver"], list(CODES))
    for rule in driver["rules"]:
        assert set(rule) == KNOWN["rule"]
        assert rule["help"]["text"]
        assert rule["shortDescription"]["text"].endswith(".")
        assert rule["defaultConfiguration"]["level"] in ("none", "note", "warning", "error")
    for result in run["results"]:
        assert set(result) == KNOWN["result"]
        assert driver["rules"][result["ruleIndex"]]["id"] == result["ruleId"]
        assert isinstance(result["message"]["text"], str)
        assert all(isinstance(value, str) for value in result["partialFingerprints"].values())
    assert [result["level"] for result in run["results"]] == ["error", "warning"]
    places = [result["locations"][0]["physicalLocation"] for result in run["results"]]
    assert places[0] == {
        "artifactLocation": {"uri": "p/a%20b.yaml", "uriBaseId": "%SRCROOT%"},
        "region": {"startLine": 3, "startColumn": 7},
    }
    assert "region" not in places[1]


def test_files_are_named_from_the_folder_of_the_run(tmp_path: Path, monkeypatch: Any) -> None:
    """Below it relative, elsewhere by a file URI."""
    monkeypatch.chdir(tmp_path)
    findings = [Finding("MCP0021", "no", str(path), 1, 1) for path in (tmp_path / "p.yaml", Path("/elsewhere/p.yaml"))]
    results = log(*findings)["runs"][0]["results"]
    uris = [one["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] for one in results]
    assert uris == ["p.yaml", "file:///elsewhere/p.yaml"]


def test_a_fingerprint_outlives_a_move() -> None:
    """It hangs on the text of the line, not on its number, and tells equal lines apart."""

    def prints(*findings: Finding, **sources: str) -> list[str]:
        results = log(*findings, **sources)["runs"][0]["results"]
        return [one["partialFingerprints"]["mcpFinding/v1"] for one in results]

    finding, moved = Finding("MCP0021", "no", "p", 1, 1), Finding("MCP0021", "no", "p", 2, 3)
    assert prints(finding, p="when: x") == prints(moved, p="# more\n  when: x")
    assert len(set(prints(finding, moved, p="x\nx"))) == 2


def test_a_log_says_what_its_bound_left_out() -> None:
    """A log that is not complete says so where SARIF tells of the run itself."""
    assert log()["runs"][0]["invocations"] == [{"executionSuccessful": True}]
    (told,) = log(Finding("MCP0021", "no"), left_out=7)["runs"][0]["invocations"][0]["toolExecutionNotifications"]
    assert told["message"]["text"] == "7 more findings are over the bound of 1 and are not in this log."
