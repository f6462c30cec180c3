"""``mcpctl check``."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from serving import Replica
from verbs import ACCESS, Typist, token_for

from mcp_sdk.cli.diagnosis import _clock, _versions


def found(told: Any) -> dict[str, str]:
    """Give the severity of each look."""
    return {each["check"]: each["severity"] for each in told["findings"]}


def test_an_installation_that_is_well(seeded: Typist, place: str) -> None:
    """Every look is told, and none is wrong."""
    looks = found(seeded.json("check"))
    assert {"reachability", "store", "policies", "keys", "propagation"} <= set(looks)
    assert set(looks.values()) <= {"ok", "warning"}
    assert ("clock" in looks) == (place == "server")


def test_a_key_that_is_pinned(seeded: Typist, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server's own is well, another one is wrong; the mend says which one to pin."""
    if place == "store":
        return
    mend = next(each["mend"] for each in seeded.json("check")["findings"] if each["check"] == "trust")
    monkeypatch.setenv("MCP_SDK_TRUSTED_KEYS", mend.partition("=")[2])
    assert found(seeded.json("check"))["trust"] == "ok"
    monkeypatch.setenv("MCP_SDK_TRUSTED_KEYS", "ab" * 32)
    assert found(seeded.json("check", status=1))["trust"] == "error"


def test_signing_keys_of_ones_own_are_told(seeded: Typist, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the control plane shares others, services with and without would not believe each other."""
    assert found(seeded.json("check"))["keys"] == "ok"
    monkeypatch.setenv("MCP_SDK_SIGNING_KEYS", "mine:" + "QUJD" * 8)
    looks = found(seeded.json("check"))
    assert (looks["keys"], looks["propagation"]) == ("warning", "ok")


def test_what_cannot_be_reached_ends_it(typist: Typist, monkeypatch: pytest.MonkeyPatch) -> None:
    """With how to mend it, and status 1."""
    monkeypatch.setenv("MCP_SDK_CONTROL_PLANE", "http://127.0.0.1:9")
    told = typist.json("check", status=1)
    assert found(told) == {"reachability": "error"}
    assert "mcpctl serve" in told["findings"][0]["found"]


def test_a_viewer_may_not_probe(replica: Replica, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """That is said, with the role that may; the rest is looked at."""
    viewer = Typist(tmp_path, replica.url, token_for(replica, "viewer"))
    for name, value in viewer.settings.items():
        monkeypatch.setenv(name, value)
    told = {each["check"]: each for each in viewer.json("check", status=1)["findings"]}
    assert "role operator" in told["store"]["mend"]
    assert told["keys"]["severity"] == "warning"


@pytest.mark.parametrize(("seconds", "severity"), [(0.5, "ok"), (-1.5, "ok"), (90, "error"), (-90, "error")])
def test_clocks_are_compared(seconds: float, severity: str) -> None:
    """By how far the server's is from the middle of asking and hearing."""
    now = datetime(2026, 1, 1, tzinfo=UTC)
    finding = _clock(now, now + timedelta(seconds=seconds), now + timedelta(seconds=0.1))
    assert finding.severity == severity


def test_versions_are_compared() -> None:
    """No common protocol is wrong; another version of the software is told."""
    assert _versions({"version": "9.9", "protocol": [99]}).severity == "error"
    assert _versions({"version": "9.9", "protocol": [1, 2]}).severity == "warning"


def test_what_would_refuse_without_a_control_plane(seeded: Typist) -> None:
    """Operation, policy, rule and why; what callers bring along is not missed."""
    (lost,) = seeded.json("check", "--assume", "control-plane-down", status=1)["refuse"]
    assert (lost["service"], lost["operation"], lost["rule"]) == ("shop", "POST /orders", "large")
    assert "order.amount" in lost["why"]
    assert seeded("check", "--assume", "control-plane-down", "--travels", "order") == 0
    assert "would refuse for want of a context" in seeded.out
    seeded("apply", seeded.write(a=ACCESS.replace("order.amount >=", "has(order.amount) && order.amount >=")))
    assert seeded("check", "--assume", "control-plane-down") == 0, seeded.out
