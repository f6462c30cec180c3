"""``mcpctl check``."""

from __future__ import annotations

import asyncio
import base64
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from serving import Replica
from verbs import ACCESS, Typist

from mcp_sdk._plugins import STORES, load
from mcp_sdk.cli.diagnosis import _clock, _versions
from mcp_sdk.context import Scope
from mcp_sdk.ports import SigningKey


def found(told: Any) -> dict[str, str]:
    """Give the severity of each look."""
    return {each["check"]: each["severity"] for each in told["findings"]}


def look(told: Any, check: str) -> dict[str, str]:
    """Give one look."""
    return next(each for each in told["findings"] if each["check"] == check)


def holding(replica: Replica, folder: Path, patch: pytest.MonkeyPatch, *grant: str) -> Typist:
    """Give somebody who types with a token of a grant, made as an admin makes it."""
    for name, value in Typist(folder, replica.url, replica.token).settings.items():
        patch.setenv(name, value)
    made = Typist(folder, replica.url, replica.token).json("token", "create", *grant)
    patch.setenv("MCP_SDK_TOKEN", made["text"])
    return Typist(folder, replica.url, made["text"])


def keys_of(url: str, scope: Scope) -> tuple[SigningKey, ...]:
    """Give the signing keys that a store holds."""

    async def read() -> tuple[SigningKey, ...]:
        store = load(STORES, url)(url, poll_interval=0.05)
        await store.open()
        found = await store.keys(scope)
        await store.close()
        return tuple(found)

    return asyncio.run(read())


def test_an_installation_that_is_well(seeded: Typist, place: str) -> None:
    """Every look is told, and none is wrong."""
    looks = found(seeded.json("check"))
    assert {"reachability", "store", "policies", "keys", "propagation"} <= set(looks)
    assert set(looks.values()) <= {"ok", "warning"}
    assert ("clock" in looks) == ("stream" in looks) == (place == "server")


def test_a_key_that_is_pinned(seeded: Typist, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server's own is well, another one is wrong; the mend says which one to pin."""
    if place == "store":
        return
    mend = next(each["mend"] for each in seeded.json("check")["findings"] if each["check"] == "trust")
    monkeypatch.setenv("MCP_SDK_TRUSTED_KEYS", mend.partition("=")[2])
    assert found(seeded.json("check"))["trust"] == "ok"
    monkeypatch.setenv("MCP_SDK_TRUSTED_KEYS", "ab" * 32)
    told = seeded.json("check", status=1)["findings"]
    assert (told[-1]["check"], told[-1]["severity"]) == ("trust", "error"), "what follows would tell of the same"


def test_a_key_that_is_not_trusted_is_no_silence(typist: Typist, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every verb says that the server was not believed, not that it did not answer."""
    if place == "store":
        return
    monkeypatch.setenv("MCP_SDK_TRUSTED_KEYS", "ab" * 32)
    monkeypatch.setenv("MCP_SDK_START_TIMEOUT", "2")
    assert typist("get", "policies") == 3
    assert "not trusted here" in typist.err
    assert "did not answer" not in typist.err


def test_signing_keys_of_ones_own_are_told(seeded: Typist, monkeypatch: pytest.MonkeyPatch) -> None:
    """Services with and without would not believe each other; where all have them it is meant, so nothing is wrong."""
    assert found(seeded.json("check"))["keys"] == "ok"
    monkeypatch.setenv("MCP_SDK_SIGNING_KEYS", "mine:" + "QUJD" * 8)
    told = seeded.json("check", status=0)
    assert look(told, "keys")["severity"] == "warning"
    lost = look(told, "propagation")
    assert (lost["severity"], "do not believe each other" in lost["found"]) == ("warning", True)
    assert "MCP_SDK_SIGNING_KEYS" in lost["mend"]


@pytest.mark.parametrize(
    ("order", "severity", "said"),
    [
        ("{shared},mine:{mine}", "ok", "and theirs here"),
        ("mine:{mine},{shared}", "error", "what is signed here is not believed by services"),
    ],
)
def test_a_rotation_half_way_is_told_by_its_direction(
    seeded: Typist, monkeypatch: pytest.MonkeyPatch, order: str, severity: str, said: str
) -> None:
    """A new key that this side signs with already is not believed by those that have the old one alone."""
    with seeded.mesh() as mesh:
        (key,) = mesh.control_plane.keys()
    shared = f"{key.kid}:{base64.b64encode(key.secret).decode()}"
    monkeypatch.setenv("MCP_SDK_SIGNING_KEYS", order.format(shared=shared, mine="QUJD" * 8))
    finding = look(seeded.json("check", status=int(severity == "error")), "propagation")
    assert (finding["severity"], said in finding["found"]) == (severity, True), finding


def test_signing_keys_that_cannot_be_read_are_told_as_such(seeded: Typist, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under keys, and not as a store that cannot be reached."""
    monkeypatch.setenv("MCP_SDK_SIGNING_KEYS", "mine")
    told = seeded.json("check", status=1)
    assert [each["check"] for each in told["findings"] if each["severity"] == "error"] == ["keys"]
    assert "kid:base64secret" in look(told, "keys")["found"]


def test_to_look_at_a_mistyped_namespace_leaves_no_key_in_it(
    typist: Typist, place: str, request: pytest.FixtureRequest
) -> None:
    """A key is made for the first service that comes, and for nobody who looks."""
    scope = Scope("typo", typist.environment)
    url = typist.url if place == "store" else request.getfixturevalue("replica").store
    typist.seed()
    for verb in (("get", "policies"), ("check",)):
        assert typist(*verb, "-n", "typo") == 0, typist.err
    assert keys_of(url, scope) == ()
    with typist.mesh(namespace="typo") as first:
        assert first.control_plane.keys() == keys_of(url, scope) != ()


def test_what_cannot_be_reached_ends_it(typist: Typist, monkeypatch: pytest.MonkeyPatch) -> None:
    """With how to mend it, and status 1."""
    monkeypatch.setenv("MCP_SDK_CONTROL_PLANE", "http://127.0.0.1:9")
    told = typist.json("check", status=1)
    assert found(told) == {"reachability": "error"}
    assert "mcpctl serve" in told["findings"][0]["found"]


def test_what_keeps_a_store_from_answering_is_found(typist: Typist, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the store's own words, which have the mend, and not by a time that ran out."""
    monkeypatch.setenv("MCP_SDK_CONTROL_PLANE", "sqlite:////nowhere/at/all/mesh.db")
    monkeypatch.setenv("MCP_SDK_START_TIMEOUT", "0.5")
    told = typist.json("check", status=1)
    assert found(told) == {"reachability": "error"}
    assert "Its directory must exist" in told["findings"][0]["found"]


def test_a_file_that_is_not_there_is_told_and_not_made(typist: Typist) -> None:
    """A mistyped path is wrong usage, and no installation that is well."""
    assert typist("check", "-s", "sqlite:///typo.db") == 2
    assert "typo.db does not exist" in typist.err
    assert not (typist.folder / "typo.db").exists()


@pytest.mark.parametrize("grant", [("viewer",), ("publisher", "--service", "shop")])
def test_who_may_not_probe_is_told_of_no_fault(
    replica: Replica, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, grant: tuple[str, ...]
) -> None:
    """That look is left out, with the role that may, and the installation is well: services need no such right."""
    told = holding(replica, tmp_path, monkeypatch, "--role", *grant).json("check")
    assert told["well"]
    assert (look(told, "store")["severity"], look(told, "stream")["severity"]) == ("warning", "ok")
    assert "may not write a probe" in look(told, "store")["found"]
    assert "role operator" in look(told, "store")["mend"]


def test_an_operator_of_one_environment_may_probe(
    replica: Replica, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There all is well; elsewhere, where it may not even read, that is what is found."""
    operator = holding(replica, tmp_path, monkeypatch, "--role", "operator", "--environment", "prod")
    assert found(operator.json("check", "-e", "prod"))["store"] == "ok"
    monkeypatch.setenv("MCP_SDK_START_TIMEOUT", "2")
    told = operator.json("check", "-e", "other", status=1)
    assert told["findings"][-1]["check"] == "stream"
    assert "may not read in default/other" in told["findings"][-1]["found"]


def test_the_last_good_snapshot_is_not_the_servers_word(
    replica: Replica, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that is kept here hides nothing: with it a server is heard as well, and one that is not heard is told."""
    monkeypatch.setenv("MCP_SDK_STATE_DIR", str(tmp_path / "state"))
    admin = holding(replica, tmp_path, monkeypatch, "--role", "admin")
    assert [found(admin.json("check"))["stream"] for _ in range(2)] == ["ok", "ok"]
    assert any((tmp_path / "state").iterdir())
    holding(replica, tmp_path, monkeypatch, "--role", "viewer", "--environment", "prod")
    monkeypatch.setenv("MCP_SDK_START_TIMEOUT", "2")
    assert "may not read" in look(admin.json("check", status=1), "stream")["found"]


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
