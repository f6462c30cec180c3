"""A control plane in a SQLite file, and gunicorn with several workers on a free loopback port."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from mcp_sdk import BusinessModel, EntityRef, Mesh, ModelContext
from mcp_sdk.policy import compile_policies
from mcp_sdk.snapshot import PolicyRevision

HERE = Path(__file__).parent


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'mesh.db'}"


@pytest.fixture
def mesh(url: str) -> Iterator[Mesh]:
    """Give the operator's own mesh on the same control plane."""
    order = BusinessModel("order", key="number", states=("created", "paid"), attributes={"amount": "decimal"})
    mesh = Mesh(service="operator", control_plane=url, models=[order])
    with mesh:
        yield mesh


@pytest.fixture
def apply(mesh: Mesh) -> Callable[[str], None]:
    """Put policies in force in place of those before."""

    def put(text: str) -> None:
        held = mesh.control_plane.snapshot().revision
        programs = compile_policies({"test.yaml": text}, dict(mesh.models))
        mesh.control_plane.apply(PolicyRevision(held, programs)).result(5)

    return put


@pytest.fixture
def stored(mesh: Mesh) -> Callable[[str], ModelContext | None]:
    """Give what the store holds of an order."""

    def look_up(number: str) -> ModelContext | None:
        assert mesh.control_plane.flush(5)
        ref = EntityRef("order", number)
        return mesh.control_plane.fetch([ref]).result(5).get(ref)

    return look_up


class Gunicorn:
    """Gunicorn with a client of it; ``stop`` ends it as an operator does."""

    def __init__(self, application: str, workers: int, env: dict[str, str]) -> None:
        port = _free_port()
        command = [sys.executable, "-m", "gunicorn", "--bind", f"127.0.0.1:{port}", "--workers", str(workers)]
        command += ["--chdir", str(HERE), "--log-level", "warning", "--worker-tmp-dir", "/tmp", application]
        self.process = subprocess.Popen(command, env={**os.environ, **env})
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10)
        self._wait(port)

    def _wait(self, port: int) -> None:
        until = time.monotonic() + 30
        while self.process.poll() is None and time.monotonic() < until:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
            except OSError:
                time.sleep(0.05)
            else:
                return
        raise AssertionError("gunicorn did not start")

    def stop(self) -> int:
        self.client.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def gunicorn(url: str) -> Iterator[Callable[..., Gunicorn]]:
    """Give a function that starts gunicorn; every one is stopped at the end."""
    running: list[Gunicorn] = []

    def start(application: str, *, workers: int = 3, **env: str) -> Any:
        running.append(Gunicorn(application, workers, {"MCP_SDK_CONTROL_PLANE": url, **env}))
        return running[-1]

    yield start
    for server in running:
        server.stop()
