"""The list-members of the W3C baggage header, whoever's they are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_sdk import members
from mcp_sdk.exceptions import BaggageError
from mcp_sdk.members import Member, Property


def test_several_lines_are_one_list() -> None:
    """Header lines are combined in order, and bytes are read like text."""
    assert members.split(members.join(["a=1, b=2", b"c=3"])) == ["a=1", "b=2", "c=3"]


def test_empty_members_and_white_space_around_them_mean_nothing() -> None:
    """Only spaces and tabs between members go; what is inside stays."""
    assert members.split(" a = 1 ;p ,,\t b=2\t,") == ["a = 1 ;p", "b=2"]


def test_a_member_is_read_with_its_properties() -> None:
    """Optional white space is no part of keys or values, and values are decoded."""
    member = Member.parse("key \t=\t a%20b=c ; p1 ; p2 = v%3B2")
    assert member == Member("key", "a b=c", (Property("p1"), Property("p2", "v;2")))
    assert str(member) == "key=a%20b%3Dc;p1;p2=v%3B2"


@pytest.mark.parametrize(
    "raw", ["", "key", "=value", "k y=1", 'k="v"', "k=a b", "k=\\", "k=v;p q", "k=é", "k=a\r\nx: y"]
)
def test_what_is_no_member_is_refused_without_showing_it(raw: str) -> None:
    """The error has a kind for counting, and holds nothing of the header."""
    with pytest.raises(BaggageError) as refused:
        Member.parse(raw)
    assert refused.value.kind == "malformed_member"
    assert not raw or raw not in str(refused.value)


def test_octets_that_are_no_utf8_are_replaced() -> None:
    """As the recommendation demands of values in general."""
    assert Member.parse("k=a%FFb").value == "a\ufffdb"


@given(st.text())
def test_any_text_survives_escaping(text: str) -> None:
    """A value reads back as it was, and its raw form is printable ASCII that holds no delimiter."""
    raw = str(Member("k", text))
    assert Member.parse(raw).value == text
    assert raw.isascii()
    assert raw.isprintable()
    assert not set(raw) & set(' ,;"\\')


def test_only_members_that_cannot_break_a_header_are_safe() -> None:
    """Line breaks, other controls and characters beyond ASCII are left out; what is merely malformed stays."""
    assert members.safe(["a=1", "b=2\r\nx: y", "c=\x00", "d=é", "%%%", "e=\t1"]) == ["a=1", "%%%", "e=\t1"]


@pytest.mark.parametrize(
    ("raw", "key"), [("a=1", "a"), (" a = 1", "a"), ("a", "a"), ("a;p=1", "a"), ("mcp%5Fsdk.x=1", "mcp_sdk.x")]
)
def test_the_key_of_a_raw_member(raw: str, key: str) -> None:
    """A percent-encoded key is decoded, for OpenTelemetry does so too."""
    assert members.key_of(raw) == key


def test_members_are_left_out_whole_and_from_the_end() -> None:
    """The commas between them count, and nothing comes after what does not fit."""
    assert members.fitting(["a=1", "b=2", "c=3"], 11) == ["a=1", "b=2", "c=3"]
    assert members.fitting(["a=1", "b=2", "c=3"], 10) == ["a=1", "b=2"]
    assert members.fitting(["a=1", "b=22", "c"], 6) == ["a=1"]
