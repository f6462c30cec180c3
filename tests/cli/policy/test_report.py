"""What people see of findings."""

from __future__ import annotations

import pytest

from mcp_sdk.cli.policy.report import SHOWN, report
from mcp_sdk.exceptions import Finding

Lines = list[str]


def marked(text: str, line: int, column: int) -> Lines:
    """Give the excerpt of a finding at a place of a text."""
    return list(report([Finding("MCP0021", "no", "f.yaml", line, column)], {"f.yaml": text}))[1:]


@pytest.mark.parametrize(
    ("text", "column", "excerpt"),
    [
        ("k: abc", 4, ["     1 | k: abc", "       |    ^"]),
        ("k:\tabc", 4, ["     1 | k: abc", "       |    ^"]),
        ("日本 x", 4, ["     1 | 日本 x", "       |      ^"]),
        ("e\u0301 x", 4, ["     1 | e\u0301 x", "       |   ^"]),
        ("a\x1b[31mb", 7, ["     1 | a�[31mb", "       |       ^"]),
        ("abc", 9, ["     1 | abc", "       |    ^"]),
    ],
)
def test_the_mark_stands_under_the_column(text: str, column: int, excerpt: Lines) -> None:
    """Wide, combining and tab characters keep the mark in place, and nothing reaches a terminal as a command."""
    assert marked(text, 1, column) == excerpt


def test_a_long_line_is_cut_around_the_column() -> None:
    """What stands around the column is shown, and that there is more."""
    shown, mark = marked("a" * 500 + "X" + "b" * 500, 1, 501)
    assert (shown[9], shown[-1], shown[mark.index("^")]) == ("…", "…", "X")
    assert len(shown) < 130


def test_lines_are_counted_as_yaml_counts_them() -> None:
    """A carriage return and the breaks of Unicode end a line; a place past the end has no excerpt."""
    assert marked("a\r\nb\rc\u2028d", 4, 1)[0].endswith("| d")
    assert marked("a", 2, 1) == []
    assert marked("a", 0, 0) == []


def test_many_of_one_kind_are_counted() -> None:
    """Ten thousand findings are a readable report, unless every one is asked for."""
    findings = [Finding("MCP0021", "no", "f.yaml", number, 1) for number in range(1, 10_001)]
    sources = {"f.yaml": "x\n" * 10_000}
    lines = list(report([*findings, Finding("MCP0004", "no", "f.yaml", 3, 1)], sources))
    assert len(lines) == 3 * SHOWN + 3 + 1
    assert lines[-1] == "… and 9 950 more MCP0021 of this kind in f.yaml; --all shows them"
    assert len(list(report(findings, sources, everything=True))) == 30_000
