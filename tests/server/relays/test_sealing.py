"""What is sealed for some readers."""

from __future__ import annotations

from unittest.mock import patch

import pytest

from mcp_sdk.server.relays.sealing import Reader, seal


def test_whom_it_is_for_can_open_it() -> None:
    """Several readers, and nobody else."""
    one, other, stranger = Reader(), Reader(), Reader()
    sealed = seal({"a": ["\0", "é"]}, {one.public, other.public})
    assert one.open(sealed) == other.open(sealed) == {"a": ["\0", "é"]}
    assert stranger.open(sealed) is None


def test_a_key_that_is_none_is_passed_over() -> None:
    """With it no secret can be shared; the others can open what is sealed."""
    reader = Reader()
    sealed = seal({"a": 1}, {bytes(32), b"short", reader.public})
    assert list(sealed["for"]) == [reader.public.hex()]
    assert reader.open(sealed) == {"a": 1}


def test_what_is_nested_too_deeply_is_nothing() -> None:
    """Though it is sealed as it should be."""
    reader = Reader()
    with patch("mcp_sdk.server.relays.sealing.json.dumps", return_value="[" * 100_000):
        sealed = seal("x", {reader.public})
    assert reader.open(sealed) is None


@pytest.mark.parametrize("broken", [None, "x", {}, {"for": {}}, {"for": 7}, {"text": "", "with": "", "for": None}])
def test_what_is_no_sealed_text_is_nothing(broken: object) -> None:
    """As another version may write it."""
    assert Reader().open(broken) is None


@pytest.mark.parametrize("part", ["with", "text"])
def test_what_was_changed_is_nothing(part: str) -> None:
    """Each part counts."""
    reader, other = Reader(), Reader()
    sealed = dict(seal({"a": 1}, {reader.public}))
    sealed[part] = seal({"a": 1}, {other.public})[part]
    assert reader.open(sealed) is None
