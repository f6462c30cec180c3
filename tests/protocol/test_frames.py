"""Frames of a stream."""

from __future__ import annotations

import pytest

from mcp_sdk.exceptions import ProtocolError
from mcp_sdk.protocol.frames import PROTOCOL, frame, negotiate, read


def test_a_frame_comes_back_as_it_was_written() -> None:
    """Members keep their types and letters."""
    assert read(frame("get", id=1, refs=[["order", "é\n"]])) == {"op": "get", "id": 1, "refs": [["order", "é\n"]]}


@pytest.mark.parametrize("text", ["", "[]", "1", "null", "{}", '{"op": 1}', "{", "[" * 100_000, '"\ud800"', "NaN"])
def test_what_is_no_frame_is_refused(text: str) -> None:
    """Anything but a JSON object with an ``op`` is refused, in bounded time."""
    with pytest.raises(ProtocolError):
        read(text)


def test_versions_are_negotiated() -> None:
    """A version that both know is chosen; where there is none, it is said which is spoken here."""
    assert negotiate([PROTOCOL + 1, PROTOCOL, "x"]) == PROTOCOL
    with pytest.raises(ProtocolError, match=f"speaks {PROTOCOL}"):
        negotiate([99])
