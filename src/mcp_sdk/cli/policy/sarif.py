"""Findings as SARIF 2.1.0, for code scanners and editors.

Source: OASIS, Static Analysis Results Interchange Format (SARIF) Version 2.1.0 Plus Errata 01.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import quote

from mcp_sdk.cli.policy.report import lines_of
from mcp_sdk.exceptions import Finding
from mcp_sdk.policy.findings import CODES, MEND, Report, severity_of

__all__ = ["sarif"]

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
ROOT = "%SRCROOT%"
_NUMBERS = {code: number for number, code in enumerate(CODES)}


def sarif(report: Report, sources: Mapping[str, str]) -> dict[str, Any]:
    """Give a report as a SARIF log; ``sources`` gives the texts of the files, for fingerprints that outlive edits."""
    run = {
        "tool": {"driver": _driver()},
        "columnKind": "unicodeCodePoints",
        "invocations": [_invocation(report)],
        "results": list(_results(report, sources)),
    }
    return {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}


def _driver() -> dict[str, Any]:
    rules = [
        {
            "id": code,
            "shortDescription": {"text": f"{says[0].upper()}{says[1:]}."},
            "help": {"text": MEND[code]},
            "defaultConfiguration": {"level": severity_of(code)},
        }
        for code, says in CODES.items()
    ]
    return {"name": "mcpctl policy check", "version": version("mcp-sdk"), "rules": rules}


def _invocation(report: Report) -> dict[str, Any]:
    """Say that the check ran, and what its bound left out."""
    invocation: dict[str, Any] = {"executionSuccessful": True}
    if report.left_out:
        text = f"{report.left_out} more findings are over the bound of {len(report.findings)} and are not in this log."
        invocation["toolExecutionNotifications"] = [{"level": "warning", "message": {"text": text}}]
    return invocation


def _results(report: Report, sources: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    lines = {file: lines_of(text) for file, text in sources.items()}
    seen: Counter[str] = Counter()
    for finding in report.findings:
        location: dict[str, Any] = {"artifactLocation": _artifact(finding.file)}
        if finding.line > 0:
            location["region"] = {"startLine": finding.line, "startColumn": max(finding.column, 1)}
        yield {
            "ruleId": finding.code,
            "ruleIndex": _NUMBERS[finding.code],
            "level": finding.severity,
            "message": {"text": finding.message},
            "locations": [{"physicalLocation": location}],
            "partialFingerprints": {"mcpFinding/v1": _fingerprint(finding, lines.get(finding.file, []), seen)},
        }


def _artifact(file: str) -> dict[str, str]:
    """Give a file's place, from the folder that the check ran in where it is below that."""
    path = Path(file)
    if path.is_absolute():
        if not path.is_relative_to(Path.cwd()):
            return {"uri": path.as_uri()}
        path = path.relative_to(Path.cwd())
    return {"uri": quote(path.as_posix()), "uriBaseId": ROOT}


def _fingerprint(finding: Finding, lines: list[str], seen: Counter[str]) -> str:
    """Give what stays the same when the finding's line moves: its kind, file and text, and which of equals it is."""
    text = lines[finding.line - 1].strip() if 0 < finding.line <= len(lines) else finding.message
    key = f"{finding.code}\0{finding.file}\0{text}"
    seen[key] += 1
    return hashlib.sha256(f"{key}\0{seen[key]}".encode()).hexdigest()[:32]
