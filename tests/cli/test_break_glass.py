"""``mcpctl break-glass`` and ``mcpctl epoch``, over real servers, files and services."""

from __future__ import annotations

import io
import json
import re
import shlex
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
from mcp_sdk.services import Endpoint

WHY = ("--reason", "provider down")


class Terminal(io.StringIO):
    """What says that it is a terminal; ``COLUMNS`` says how wide it is."""

    def isatty(self) -> bool:
        return True


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


def test_what_is_printed_to_end_it_ends_it(replica: Replica, monkeypatch: pytest.MonkeyPatch) -> None:
    """Typed as it stands, without the settings, it means the same server, namespace and environment."""
    monkeypatch.delenv("MCP_SDK_CONTROL_PLANE")
    where = ("-s", replica.url, "-n", "bank", "-e", "prod")
    _, _, err = mcpctl("break-glass", "--service", "shop", *WHY, *where)
    said = next(line for line in err.splitlines() if line.startswith("to end it sooner: ")).partition(": mcpctl ")[2]
    assert said == f"break-glass --service shop --end -s {replica.url} -n bank -e prod"
    assert mcpctl(*shlex.split(said))[:2] == (0, "shop refuses again, by its own mode\n")
    status, out, err = mcpctl(*shlex.split(said))
    assert (status, out) == (3, "")
    assert (
        "no glass is broken for 'shop' in bank/prod. See where it is: mcpctl break-glass --list -n bank -e prod" in err
    )


def test_a_mistyped_service_is_doubted_and_obeyed(replica: Replica) -> None:
    """It is an emergency: what was asked for is done, and the nearest service is named."""
    with service(replica) as shop:
        shop.control_plane.register(Endpoint("shop", "http://127.0.0.1:9", "i")).result(20)
        status, out, err = mcpctl("break-glass", "--service", "shpo", *WHY)
        assert (status, out.startswith("shpo refuses nothing until ")) == (0, True)
        assert "no service of the name 'shpo' is registered or governed here. Did you mean 'shop'?" in err
        assert "Did you mean" not in mcpctl("break-glass", "--service", "shop", *WHY)[2]


def test_machines_are_told_what_is_over(replica: Replica) -> None:
    """As people are, whose list has shorter times."""
    for name, ttl in (("shop", "1s"), ("bank", "15m")):
        assert mcpctl("break-glass", "--service", name, "--ttl", ttl, *WHY)[0] == 0
    until(lambda: " (over)" in mcpctl("break-glass", "--list")[1])
    found = json.loads(mcpctl("break-glass", "--list", "-o", "json")[1])
    assert {name: each["over"] for name, each in found.items()} == {"shop": True, "bank": False}
    assert re.search(r"shop +observe +\S{19}Z \(over\)", mcpctl("break-glass", "--list")[1])


def test_sentences_end_between_words_on_a_terminal(replica: Replica, monkeypatch: pytest.MonkeyPatch) -> None:
    """And commands stay whole, for they are copied."""
    monkeypatch.setenv("COLUMNS", "60")
    out, err = Terminal(), Terminal()
    assert main(["break-glass", "--service", "shop", *WHY, "-e", "production"], out, err) == 0
    first, second = out.getvalue().splitlines()
    assert (first.endswith("Z; what it"), second) == (True, "would refuse is still logged")
    assert "to end it sooner: mcpctl break-glass --service shop --end -e production\n" in err.getvalue()


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


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("--service", "shop", "--offline", "--end"), "--end asks a server, and --offline asks none."),
        (("--service", "shop", "--offline", "--end"), "To end what a signed file does: rm FILE"),
        (("--service", "shop", "--offline", "--end", "--file", "a b"), "To end what a signed file does: rm 'a b'"),
        (
            ("--service", "shop", "--key", "k", *WHY),
            "--key would do nothing here: it is for a signed file",
        ),
        (("--service", "shop", "--key", "k", "--file", "f", *WHY), "--key and --file would do nothing here"),
        (("--list", "--service", "shop"), "--service would do nothing here: --list shows all"),
        (("--list", "--end", "--ttl", "15m", *WHY), "--end and --ttl and --reason would do nothing here"),
        (("--service", "shop", "--end", *WHY), "--reason would do nothing here: --end ends it at once"),
        (("--service", "shop", "--reason", "  x  "), "says nothing: whoever reads the log wants to know why"),
        (("--service", "shop", "--reason", "x" * 501), "--reason has 501 characters: 500 at the most"),
    ],
)
def test_what_would_do_nothing_is_refused(argv: tuple[str, ...], said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever gave it believes that it holds; nobody is asked."""
    monkeypatch.delenv("MCP_SDK_CONTROL_PLANE", raising=False)
    status, out, err = mcpctl("break-glass", *argv)
    assert (status, out, said in err) == (2, "", True), err


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
