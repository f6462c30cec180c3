"""A run of cases as JUnit XML, in the form that CI servers read (``testsuites``, ``testsuite``, ``testcase``).

A suite is a file; a failing case has a ``failure``, a mistake in a file is a case with an ``error``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from mcp_sdk.cli.policy.case_run import CaseRun, Ran

if TYPE_CHECKING:
    from mcp_sdk.exceptions import Finding

__all__ = ["junit_xml"]

_NO_CHARACTERS = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 (section 2.2) does not allow in a document, not even escaped."""


def junit_xml(run: CaseRun) -> str:
    """Write a run as an XML document. Characters that XML cannot hold are written with backslashes."""
    root = ET.Element("testsuites", name="mcpctl policy test")
    for file in sorted({*run.files, *(finding.file for finding in run.findings)}):
        _suite(root, file, run)
    _count(root, root.iter("testcase"))
    ET.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _suite(root: ET.Element, file: str, run: CaseRun) -> None:
    suite = ET.SubElement(root, "testsuite", name=_safe(file))
    for one in run.ran:
        if one.verified.case.at.file == file:
            _case(suite, one)
    for finding in run.findings:
        if finding.file == file:
            _mistake(suite, finding)
    _count(suite, suite)
    if not len(suite):
        root.remove(suite)


def _case(suite: ET.Element, one: Ran) -> None:
    case = one.verified.case
    element = _element(suite, case.name, case.at.file, case.at.line, one.seconds)
    if not one.verified.passed:
        message = "; ".join(map(str, one.verified.differences))
        failure = ET.SubElement(element, "failure", type="difference", message=_safe(message))
        failure.text = _safe("\n".join(one.lines))


def _mistake(suite: ET.Element, finding: Finding) -> None:
    element = _element(suite, f"{finding.code} at {finding.line}:{finding.column}", finding.file, finding.line, 0.0)
    error = ET.SubElement(element, "error", type=finding.code, message=_safe(finding.message))
    error.text = _safe(str(finding))


def _element(suite: ET.Element, name: str, file: str, line: int, seconds: float) -> ET.Element:
    group = re.sub(r"\.ya?ml\Z", "", file).replace("/", ".").strip(".")
    attributes = {"classname": group, "name": name, "file": file, "line": str(line), "time": f"{seconds:.6f}"}
    return ET.SubElement(suite, "testcase", {key: _safe(value) for key, value in attributes.items()})


def _count(element: ET.Element, cases: Iterable[ET.Element]) -> None:
    every = list(cases)
    element.set("tests", str(len(every)))
    for plural, name in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        element.set(plural, str(sum(case.find(name) is not None for case in every)))
    element.set("time", f"{sum(float(case.get('time', 0)) for case in every):.6f}")


def _safe(text: str) -> str:
    return _NO_CHARACTERS.sub(lambda match: match[0].encode("unicode_escape").decode(), text)
