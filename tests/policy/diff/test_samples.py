"""Texts that expressions match."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_sdk.policy.cel.values import matches
from mcp_sdk.policy.diff.samples import matching_text


@pytest.mark.parametrize(
    "expression",
    [
        "^web-[0-9]+$",
        "^/orders/(?:new|old)/[^/]+$",
        r"^\d{3}-\w+\.pdf$",
        "(?P<who>a|b)@[a-z.]{2,}",
        "^(GET|POST) /x?$",
        r"^a\.b\[c\]$",
        "^$",
        "x*y+?z",
        "^[^a0]{4}$",
    ],
)
def test_usual_expressions_get_a_text_that_they_match(expression: str) -> None:
    """As RE2 itself says."""
    assert matches(matching_text(expression), expression)


@given(st.text(alphabet="ab|()[]{}*+?\\^$.0,:P<>-", max_size=20))
def test_anything_is_read_to_its_end(expression: str) -> None:
    """A broken expression gives some text, and no error."""
    assert isinstance(matching_text(expression), str)


@given(st.text(alphabet="abc01-/", max_size=12))
def test_a_plain_text_is_its_own_example(text: str) -> None:
    """Escaped or not."""
    assert matching_text(text) == text == matching_text(re.escape(text))
