"""Findings for people: each with its line and a mark under its column, many of one kind counted instead of printed."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from typing import Any

from mcp_sdk.exceptions import Finding

__all__ = ["SHOWN", "lines_of", "plain_finding", "report"]

SHOWN = 50
"""So many findings of one kind are printed for a file."""

WIDTH = 110
_BREAK = re.compile(r"\r\n|[\n\r\x85\u2028\u2029]")


def lines_of(text: str) -> list[str]:
    """Give the lines of a file as YAML counts them."""
    return _BREAK.split(text)


def plain_finding(finding: Finding) -> dict[str, Any]:
    """Give a finding as plain JSON."""
    return {name: getattr(finding, name) for name in ("code", "severity", "message", "file", "line", "column")}


def report(findings: Iterable[Finding], sources: Mapping[str, str], *, everything: bool = False) -> Iterator[str]:
    """Yield the lines of a report on findings that stand in order; ``sources`` gives the texts of the files."""
    for file, of_file in groupby(findings, key=lambda finding: finding.file):
        lines = lines_of(sources.get(file, ""))
        kinds: Counter[str] = Counter()
        for finding in of_file:
            kinds[finding.code] += 1
            if everything or kinds[finding.code] <= SHOWN:
                yield str(finding)
                yield from _excerpt(finding, lines)
        yield from (
            _more(count - SHOWN, code, file) for code, count in kinds.items() if count > SHOWN and not everything
        )


def _more(count: int, code: str, file: str) -> str:
    return f"… and {count:,} more {code} of this kind in {file}; --all shows them".replace(",", " ")


def _excerpt(finding: Finding, lines: list[str]) -> Iterator[str]:
    """Yield the line of a finding and the mark under its column; a long line is cut around it."""
    if not 0 < finding.line <= len(lines):
        return
    line, column = lines[finding.line - 1], max(finding.column, 1) - 1
    start = max(0, column - WIDTH // 2) if len(line) > WIDTH else 0
    before, after = _printable(line[start:column]), _printable(line[column : start + WIDTH])
    before = f"…{before}" if start else before
    gutter = f"{finding.line:>6} | "
    yield f"{gutter}{before}{after}" + ("…" if start + WIDTH < len(line) else "")
    yield " " * (len(gutter) - 2) + f"| {' ' * sum(map(_cells, before))}^"


def _printable(text: str) -> str:
    return "".join(" " if char == "\t" else char if char.isprintable() else "�" for char in text)


def _cells(char: str) -> int:
    """Give how many cells of a terminal a character takes (Unicode Standard Annex #11)."""
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1
