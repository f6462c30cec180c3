"""Django set up in this process, and the same project under gunicorn and uvicorn on free loopback ports."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import django
import httpx
import pytest
from django.core.management import call_command
from mcp_sdk_django import get_mesh

from mcp_sdk import EntityRef, Mesh, ModelContext
from mcp_sdk.policy import compile_policies
from mcp_sdk.snapshot import PolicyRevision

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
_data = tempfile.TemporaryDirectory()
os.environ["SHOP_DATA"] = _data.name
os.environ["DJANGO_SETTINGS_MODULE"] = "djangoshop.settings"
django.setup()


@pytest.fixture(scope="session", autouse=True)
def tables() -> Iterator[str]:
    """Make the tables of both databases; give the directory that holds them."""
    for alias in ("default", "other"):
        call_command("migrate", database=alias, run_syncdb=True, verbosity=0)
    yield _data.name
    _data.cleanup()


@pytest.fixture(scope="module")
def operator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    """Give an operator's mesh on the control plane that the servers share."""
    order = get_mesh().models["order"]
    mesh = Mesh(
        service="operator", control_plane=f"sqlite:///{tmp_path_factory.mktemp('mesh') / 'mesh.db'}", models=[order]
    )
    with mesh:
        yield mesh


@pytest.fixture(scope="module")
def apply(operator: Mesh) -> Callable[[str], None]:
    """Put policies in force in place of those before."""

    def put(text: str) -> None:
        held = operator.control_plane.snapshot().revision
        programs = compile_policies({"test.yaml": text}, dict(operator.models))
        operator.control_plane.apply(PolicyRevision(held, programs)).result(5)

    return put


def stored_in(mesh: Mesh) -> Callable[[str], ModelContext | None]:
    """Give a function that tells what the store holds of an order."""

    def look_up(number: str) -> ModelContext | None:
        assert mesh.control_plane.flush(5)
        ref = EntityRef("order", number)
        return mesh.control_plane.fetch([ref]).result(5).get(ref)

    return look_up


GUNICORN = (
    "gunicorn",
    "--workers",
    "3",
    "--worker-tmp-dir",
    "/tmp",
    "--log-level",
    "warning",
    "djangoshop.wsgi",
    "--bind",
)
UVICORN = ("uvicorn", "--log-level", "warning", "djangoshop.asgi:application", "--port")


@pytest.fixture(params=["wsgi", "asgi"], scope="module")
def client(request: pytest.FixtureRequest, operator: Mesh) -> Iterator[httpx.Client]:
    """Give a client of the shop, under gunicorn with three workers and under uvicorn."""
    port = _free_port()
    bound = (*GUNICORN, f"127.0.0.1:{port}") if request.param == "wsgi" else (*UVICORN, str(port))
    env = {**os.environ, "PYTHONPATH": str(HERE), "MCP_SDK_CONTROL_PLANE": operator.config.control_plane}
    process = subprocess.Popen([sys.executable, "-m", *bound], env=env)
    try:
        _wait(process, port)
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10) as client:
            yield client
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) in (0, -signal.SIGTERM)


def _wait(process: subprocess.Popen[Any], port: int) -> None:
    until = time.monotonic() + 30
    while process.poll() is None and time.monotonic() < until:
        with closing(socket.socket()) as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise AssertionError("the server did not start")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
