"""Patterns of subjects: what they fit, and that none of them costs more than reading it."""

from __future__ import annotations

import pytest

from mcp_sdk.server.access.callers import Grant
from mcp_sdk.server.access.identities import IdentityGrant


def fits(pattern: str, subject: str) -> bool:
    """Tell whether a subject fits."""
    return IdentityGrant(pattern, (Grant("viewer"),)).fits([subject])


@pytest.mark.parametrize(
    ("pattern", "subject", "expected"),
    [
        ("cn:desk", "cn:desk", True),
        ("cn:desk", "cn:desks", False),
        ("cn:*", "cn:", True),
        ("cn:a*a", "cn:a", False),
        ("cn:a*a", "cn:aa", True),
        ("cn:*b*b", "cn:abcb", True),
        ("cn:*b*b", "cn:abc", False),
        ("cn:*bc*", "cn:abcd", True),
        ("cn:a.c", "cn:abc", False),
        ("spiffe://mesh/ns/shop/sa/*", "spiffe://mesh/ns/shop/sa/orders", True),
        ("spiffe://mesh/ns/shop/*", "spiffe://mesh/ns/shop/sa/orders", False),
        ("spiffe://mesh/ns/*/sa/*", "spiffe://mesh/ns/shop/sa/", True),
        ("spiffe://*", "spiffe://mesh/ns", False),
        ("spiffe://mesh/*/sa", "spiffe://mesh//sa", True),
    ],
)
def test_a_star_stands_for_text_without_a_slash(pattern: str, subject: str, expected: bool) -> None:
    """Everything else stands for itself, and the whole subject has to fit."""
    assert fits(pattern, subject) is expected


@pytest.mark.parametrize("pattern", ["cn:" + "*" * 2000 + "b", "cn:" + "*a" * 1000 + "b"])
def test_no_pattern_takes_long(pattern: str) -> None:
    """As a regular expression each of these would not end: whoever may grant could halt every replica."""
    assert not fits(pattern, "cn:" + "a" * 2000)
