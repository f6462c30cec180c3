"""YAML of any kind gives nodes or findings, in bounded time, and never crashes."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcp_sdk.models import BusinessModel
from mcp_sdk.policy import check_policies
from mcp_sdk.policy.findings import Collector
from mcp_sdk.policy.source.reading import MapNode, Scalar, read_documents


def read(text: str) -> tuple[list[object], list[str]]:
    """Read a text; give nodes and codes."""
    findings = Collector()
    nodes: list[object] = list(read_documents(text, "f.yaml", findings))
    return nodes, [finding.code for finding in findings.found]


def scalar(text: str) -> Scalar:
    """Read the value of the one key of a text."""
    (document,) = read_documents(text, "f.yaml", Collector())
    assert isinstance(document, MapNode)
    value = document.entries[0][1]
    assert isinstance(value, Scalar)
    return value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("NO", "NO"),
        ("yes", "yes"),
        ("true", True),
        ("~", None),
        ("12", 12),
        ("-1.5e3", -1500.0),
        ("'12'", "12"),
        ("0x10", "0x10"),
    ],
)
def test_plain_scalars_follow_yaml_1_2(text: str, value: object) -> None:
    """Norway is a string, and only true and false are bools."""
    assert scalar(f"k: {text}").value == value


@pytest.mark.parametrize(
    ("text", "part", "place"),
    [
        ("k: abc def", "def", (1, 8)),
        ("k: 'it''s here'", "here", (1, 11)),
        ('k: "a\\u0041\\tb here"', "here", (1, 16)),
        ("k: |\n  one\n    two\n  three", "two", (3, 5)),
        ("k: |\n  one\n    two\n  three", "three", (4, 3)),
        ("k: >-\n  one\n  two", "two", (3, 3)),
        ("k: one\n  two three", "three", (2, 7)),
        ('k: "one\n  two"', "two", (2, 3)),
        ("k: é😀 x", "x", (1, 7)),
    ],
)
def test_an_offset_inside_a_scalar_leads_to_its_place(text: str, part: str, place: tuple[int, int]) -> None:
    """Plain, quoted, literal and folded scalars give the line and column of the character in the file."""
    value = scalar(text)
    found = value.at(value.text.index(part))
    assert (found.line, found.column) == place


@pytest.mark.parametrize(
    "text", ["k: '" + "a b " * 50_000 + "'", "k: 'x" + " " * 200_000 + "x'", 'k: "' + "\n" * 200_000 + '"']
)
def test_many_places_in_a_long_scalar_are_found_in_one_walk(text: str) -> None:
    """A text of thousands of rules is checked in seconds: each place is looked up, not counted to anew."""
    value = scalar(text)
    columns = [value.at(offset).column for offset in range(0, len(value.text), 10)]
    assert value.style == '"' or columns == list(range(5, 5 + len(value.text), 10))


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("[" * 100_000, "MCP0002"),
        ("{a: " * 100_000, "MCP0002"),
        (
            "a: &a [x,x,x,x,x,x,x,x,x,x]\n"
            + "".join(
                f"k{n}: &k{n} [{','.join(['*k' + str(n - 1)] * 10)}]\n" if n else "k0: &k0 [*a]\n" for n in range(12)
            ),
            "MCP0002",
        ),
        ("a: &a [*a]", "MCP0001"),
        ("a: *nobody", "MCP0001"),
        ("k: \ud800", "MCP0001"),
        ("k: \0", "MCP0001"),
        ("\tk: v", "MCP0001"),
        ("k: [", "MCP0001"),
        ("x" * 8_000_001, "MCP0002"),
    ],
)
def test_hostile_yaml_is_one_finding(text: str, code: str) -> None:
    """Deep nesting, alias bombs, cycles, bad characters and huge texts are findings."""
    assert read(text)[1] == [code]


@settings(max_examples=300, deadline=None)
@given(
    text=st.text(max_size=200)
    | st.lists(
        st.sampled_from(
            [
                "kind",
                ": ",
                "spec",
                "\n",
                "  ",
                "- ",
                "{",
                "}",
                "[",
                "&a",
                "*a",
                "'",
                '"',
                "|",
                "rules",
                "AccessPolicy",
                "metadata",
                "when",
                "target",
            ]
        ),
        max_size=60,
    ).map("".join)
)
def test_no_text_crashes_the_check(text: str) -> None:
    """Any text gives findings with a place, or none."""
    models: Mapping[str, BusinessModel] = {}
    for finding in check_policies({"f": text}, models):
        assert finding.line >= 1
        assert finding.column >= 1
