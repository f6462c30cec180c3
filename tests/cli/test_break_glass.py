"""``mcpctl break-glass`` and ``mcpctl epoch``, over real servers, files and services."""

from __future__ import annotations

import io
import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from servers import free_port
from serving import Replica
from waiting import until

from mcp_sdk import Config, Mesh
from mcp_sdk.cli import main
from mcp_sdk.ports import Status

WHY = ("--reason", "provider down")


def mcpctl(*argv: str) -> tuple[int, str, str]:
    """Run a command line; give its exit status and what it wrote."""
    out, err = io.StringIO(), io.StringIO()
    return main(argv, out, err), out.getvalue(), err.getvalue()


@pytest.fixture
def replica(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Replica]:
    """A server, which the environment names with an admin's token."""
    with Replica(tmp_path) as running:
        monkeypatch.setenv("MCP_SDK_CONTROL_PLANE", running.url)
        monkeypatch.setenv("MCP_SDK_TOKEN", running.token)
        yield running


def test_whichever_replica_answers_is_asked(replica: Replica, monkeypatch: pytest.MonkeyPatch) -> None:
    """With several replicas named, a dead one keeps nobody from breaking the glass, wherever it stands in the list."""
    dead = f"http://127.0.0.1:{free_port()}"
    for urls in (f"{dead},{replica.url}", f"{replica.url}/, {dead}"):
        monkeypatch.setenv("MCP_SDK_CONTROL_PLANE", urls)
        for _ in range(3):  # each begins at a replica of its own choice
            status, _, err = mcpctl("epoch", "show")
            assert (status, err) == (0, "")
        assert mcpctl("break-glass", "--service", "shop", "--ttl", "1m", *WHY)[0] == 0


@pytest.fixture
def operator(tmp_path: Path) -> tuple[Path, str]:
    """An operator's key, and its public half."""
    path = tmp_path / "operator.key"
    status, public, _ = mcpctl("break-glass", "keygen", "--key", str(path))
    assert status == 0
    assert path.stat().st_mode & 0o777 == 0o600
    return path, public.strip()


def service(replica: Replica, **settings: Any) -> Mesh:
    """Give the service ``shop``, which is connected to a server."""
    return Mesh(Config(service="shop", control_plane=replica.url, token=replica.token, start_timeout=20.0, **settings))


def test_a_server_is_told_asked_and_told_otherwise(replica: Replica) -> None:
    """The service observes, the list shows who and why, and ``--end`` has it refuse again."""
    with service(replica) as shop:
        status, out, _ = mcpctl("break-glass", "--service", "shop", "--ttl", "15m", *WHY)
        assert (status, "refuses nothing until" in out) == (0, True)
        until(lambda: not shop.enforcing)
        _, listed, _ = mcpctl("break-glass", "--list")
        assert "provider down" in listed
        assert "first-admin" in listed
        assert mcpctl("break-glass", "--service", "shop", "--end")[0] == 0
        until(lambda: shop.enforcing)
        assert json.loads(mcpctl("break-glass", "--list", "-o", "json")[1]) == {}


def test_a_file_works_with_the_server_killed_and_is_over_by_itself(
    replica: Replica, operator: tuple[Path, str], tmp_path: Path
) -> None:
    """The signed file is seen by a running service; an expired one that is put back changes nothing."""
    key, public = operator
    glass = tmp_path / "glass.json"
    with service(replica, break_glass_file=str(glass), break_glass_keys=(public,)) as shop:
        replica.kill()
        until(lambda: shop.control_plane.status() is Status.STALE)
        offline = ("break-glass", "--offline", "--file", str(glass), "--key", str(key), "--ttl", "3s", *WHY)
        assert mcpctl(*offline, "--service", "shop")[0] == 0
        until(lambda: not shop.enforcing)
        kept = glass.read_bytes()
        until(lambda: shop.enforcing)
        glass.unlink()
        time.sleep(0.6)
        glass.write_bytes(kept)
        time.sleep(0.6)
        assert shop.enforcing
        assert mcpctl(*offline, "--service", "payments")[0] == 0
        time.sleep(0.6)
        assert shop.enforcing


def test_a_file_by_another_key_is_not_believed(
    replica: Replica, operator: tuple[Path, str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever can write the file cannot break the glass without a key that the service was started with."""
    glass, forger = tmp_path / "glass.json", tmp_path / "forger.key"
    mcpctl("break-glass", "keygen", "--key", str(forger))
    offline = ("break-glass", "--offline", "--file", str(glass), "--key", str(forger), *WHY)
    with service(replica, break_glass_file=str(glass), break_glass_keys=(operator[1],)) as shop:
        assert mcpctl(*offline, "--service", "shop")[0] == 0
        for _ in range(3):
            assert shop.enforcing
            time.sleep(0.6)
    assert [record.name for record in caplog.records if "not believed" in record.message] == ["mcp_sdk.glass"]


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ((), "--service is missing"),
        (("--service", "shop"), "--reason is missing"),
        (("--service", "shop", "--offline", *WHY), "--key is missing"),
        (("--service", "shop", "--offline", "--key", "none", "--file", "f", *WHY), "the key none cannot be read"),
        (("--service", "shop", "--ttl", "soon", *WHY), "is no length of time"),
        (("--list",), "this is asked of a server"),
    ],
)
def test_what_is_missing_is_said(argv: tuple[str, ...], said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each error names what to give."""
    monkeypatch.delenv("MCP_SDK_CONTROL_PLANE", raising=False)
    status, _, err = mcpctl("break-glass", *argv)
    assert (status != 0, said in err) == (True, True)


def test_a_key_is_never_overwritten(operator: tuple[Path, str]) -> None:
    """A second keygen on the same path changes nothing."""
    before = operator[0].read_bytes()
    status, _, err = mcpctl("break-glass", "keygen", "--key", str(operator[0]))
    assert (status != 0, "nothing is overwritten" in err) == (True, True)
    assert operator[0].read_bytes() == before


def test_an_epoch_is_opened_on_purpose_only(replica: Replica) -> None:
    """Without ``--confirm`` it says what would happen, and opens nothing."""
    assert mcpctl("epoch", "show")[1] == "1\n"
    status, _, err = mcpctl("epoch", "open")
    assert (status != 0, "--confirm" in err) == (True, True)
    assert mcpctl("epoch", "show")[1] == "1\n"
    assert mcpctl("epoch", "open", "--confirm", "--reason", "restored")[0] == 0
    assert json.loads(mcpctl("epoch", "show", "-o", "json")[1]) == {"epoch": 2}
    assert replica.process.poll() is None


def test_a_higher_epoch_by_another_key_is_refused(replica: Replica, tmp_path: Path) -> None:
    """A server that lost its key, or never had it, cannot move clients, however high its epoch is."""
    with service(replica, state_dir=str(tmp_path / "state")) as shop:
        held = shop.control_plane.snapshot().order
        replica.stop()
        with closing(sqlite3.connect(tmp_path / "mesh.db")) as file:
            assert file.execute("DELETE FROM records WHERE kind = 'signer'").rowcount == 1
            file.commit()
        replica.start()
        assert mcpctl("epoch", "open", "--confirm")[0] == 0
        time.sleep(2)
        assert shop.control_plane.status() is Status.STALE
        assert shop.control_plane.snapshot().order == held
