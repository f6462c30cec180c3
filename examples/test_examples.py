"""Every example, run as a user runs it."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import time
import tomllib
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from mcp_sdk.ports import Store
from mcp_sdk.testing import StoreSuite

HERE = Path(__file__).parent
PATIENCE = 30.0


def environ(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MCP_SDK_", "OTEL_"))}
    return kept | {"PYTHONUNBUFFERED": "1"} | more


def output_of(command: Sequence[str], folder: Path, **more: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", *command],
        cwd=folder,
        env=environ(**more),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout


def free_port() -> int:
    with closing(socket.socket()) as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@contextmanager
def serving(command: Sequence[str], folder: Path, log: Path, **more: str) -> Iterator[str]:
    """A server on loopback, and its address; it is ended by its process id."""
    port = str(free_port())
    with log.open("wb") as lines:
        server = subprocess.Popen(
            [sys.executable, *command, "--port", port], cwd=folder, env=environ(**more), stdout=lines, stderr=lines
        )
    try:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            assert server.poll() is None, log.read_text()
            with closing(socket.socket()) as sock:
                if sock.connect_ex(("127.0.0.1", int(port))) == 0:
                    break
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(PATIENCE)


def call(method: str, url: str, body: Any = None) -> tuple[int, Any]:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"content-type": "application/json"}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def test_fastapi_orders(tmp_path: Path) -> None:
    """Version 2 serves the order that waits for payment, version 1 the paid one, and paying twice is refused."""
    pytest.importorskip("mcp_sdk_fastapi")
    with serving(["-m", "uvicorn", "app:app"], HERE / "fastapi_orders", tmp_path / "log") as address:
        order = f"{address}/orders/o-1"
        assert call("POST", order, {"amount": "250.00"}) == (200, {"number": "o-1", "served_by": "v1"})
        assert call("GET", order) == (200, {"number": "o-1", "status": "created", "served_by": "v2"})
        assert call("POST", f"{order}/payment") == (200, {"number": "o-1", "served_by": "v2"})
        assert call("GET", order) == (200, {"number": "o-1", "status": "paid", "served_by": "v1"})
        status, problem = call("POST", f"{order}/payment")
        assert (status, problem["detail"]) == (403, "this order is paid")


def test_flask_inventory(tmp_path: Path) -> None:
    """Stock is held back for an order that another process paid."""
    pytest.importorskip("mcp_sdk_flask")
    folder, url = HERE / "flask_inventory", f"sqlite:///{tmp_path}/mesh.db"
    with serving(
        ["-m", "flask", "--app", "app", "run"], folder, tmp_path / "log", MCP_SDK_CONTROL_PLANE=url
    ) as address:
        assert call("GET", f"{address}/stock") == (200, {"lamp": 10, "shelf": "full"})
        output_of(["pay.py", "o-1", "6"], folder, MCP_SDK_CONTROL_PLANE=url)
        deadline = time.monotonic() + PATIENCE
        while call("GET", f"{address}/stock")[1] != {"lamp": 4, "shelf": "low"}:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_worker() -> None:
    """The worker refunds what its policies allow, and hears of what another process does."""
    assert output_of(["worker.py"], HERE).splitlines() == [
        "worker says that o-1 is paid",
        "worker says that o-2 is paid",
        "o-1 is refunded",
        "o-2 stays paid: deny: deny by the default of 'refunds' (no rule granted)",
        "o-2 is refunded",
        "shop says that o-3 is paid",
        "{'o-1': 'refunded', 'o-2': 'refunded', 'o-3': 'paid'}",
        "permit: permit by rule 'small' of 'refunds' because order.state == 'paid' && order.amount <= 100",
    ]


def test_journal_store(tmp_path: Path) -> None:
    """A store that is found by its URL gets every transition, once and in order."""
    example = HERE / "journal_store"
    output_of(
        ["shop.py", "journal:orders.jsonl"], copied(example, tmp_path), PYTHONPATH=str(installed(example, tmp_path))
    )
    lines = [json.loads(line) for line in (tmp_path / "run" / "orders.jsonl").read_text().splitlines()]
    assert [(line["entity_id"], line["to_state"], line["revision"]) for line in lines] == [
        ("o-1", "created", 1),
        ("o-1", "paid", 2),
    ]


def copied(example: Path, place: Path) -> Path:
    folder = place / "run"
    folder.mkdir()
    (folder / "shop.py").write_text((example / "shop.py").read_text())
    return folder


def installed(example: Path, place: Path) -> Path:
    """What ``pip install`` would leave: the module, and its entry points."""
    site = place / "site"
    info = site / "journal_store-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "journal_store.py").write_text((example / "journal_store.py").read_text())
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: journal-store\nVersion: 1.0\n")
    groups = tomllib.loads((example / "pyproject.toml").read_text())["project"]["entry-points"]
    text = "\n".join(
        f"[{group}]\n" + "\n".join(f"{name} = {target}" for name, target in entries.items())
        for group, entries in groups.items()
    )
    (info / "entry_points.txt").write_text(text + "\n")
    return site


def journal_store() -> Any:
    spec = importlib.util.spec_from_file_location("journal_store", HERE / "journal_store" / "journal_store.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class TestJournalStore(StoreSuite):
    """The suite that every store must pass. One store stands for all handles on a place."""

    remembers = False

    def setup_method(self) -> None:
        self.places: dict[Path, Store] = {}

    def store(self, place: Path, *, clock: Callable[[], float] = time.time) -> Store:
        del clock  # the store in memory that is under it has its own
        return self.places.setdefault(
            place, journal_store().connect(f"journal:{place / 'journal'}", poll_interval=0.05)
        )
