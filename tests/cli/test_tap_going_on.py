"""Which replica ``mcpctl tap`` asks next."""

from __future__ import annotations

import io
from argparse import Namespace
from collections.abc import Iterator
from typing import Any

import pytest

from mcp_sdk import Config
from mcp_sdk.cli import tap
from mcp_sdk.cli.output import Output
from mcp_sdk.exceptions import StoreUnavailable

SAID = ("decision", {"record": {}})


def asked(monkeypatch: pytest.MonkeyPatch, *answers: list[Any] | Exception) -> tuple[list[Any], list[str]]:
    """Give the first event of two replicas that answer so in turn, and who was asked."""
    urls, left = list[str](), iter(answers)

    def told(url: str, *_: Any) -> Iterator[Any]:
        urls.append(url)
        answer = next(left)
        if isinstance(answer, Exception):
            raise answer
        yield from answer

    monkeypatch.setattr(tap, "_told_by", told)
    monkeypatch.setattr(tap, "PAUSE", 0.0)
    output = Output(io.StringIO(), io.StringIO())
    return next(tap._events(Config(control_plane="http://a,http://b"), Namespace(), output)), urls


def test_a_replica_that_answers_and_says_nothing_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A quiet tap may be ended by whatever stands between; that another replica is away does not end it for good."""
    away = StoreUnavailable("away")
    event, urls = asked(monkeypatch, away, [], away, [], away, [SAID])
    assert event == SAID
    assert urls == ["http://a", "http://b"] * 3


def test_a_tap_ends_when_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """After each was asked once."""
    with pytest.raises(StoreUnavailable):
        asked(monkeypatch, StoreUnavailable("away"), StoreUnavailable("away"))
