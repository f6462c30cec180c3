"""Where the shop's control plane is: one SQLite file that every process opens, or a server over it."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx

from mcp_sdk_demo.fleet import LOG_LINES, ServiceFailed

__all__ = ["PLANES", "Place", "main", "place"]

PLANES = ("sqlite", "http")
NAMESPACE = "shop"
STARTING = 30.0
STOPPING = 8.0


class Place:
    """A control plane by its address; ``operator`` and ``services`` are tokens, empty where none is needed."""

    def __init__(self, url: str, operator: str = "", services: str = "") -> None:
        self.url = url
        self.operator = operator
        self._services = services

    @property
    def environment(self) -> Mapping[str, str]:
        """What services need to find it."""
        token = {"MCP_SDK_TOKEN": self._services} if self._services else {}
        return {"MCP_SDK_CONTROL_PLANE": self.url, **token}


@contextmanager
def place(kind: str, directory: Path) -> Iterator[Place]:
    """Give the control plane of ``kind``, one of ``PLANES``; raises ``ServiceFailed`` where it does not come up."""
    if kind == "sqlite":
        yield Place(f"sqlite:///{directory / 'mesh.db'}")
        return
    with socket.create_server(("127.0.0.1", 0), backlog=512) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        running = _started(directory, listening.fileno())
    try:
        _await(running, url, directory)
        operator, services = ((directory / name).read_text().strip() for name in ("operator", "services"))
        yield Place(url, operator, services)
    finally:
        _stop(running)


def _started(directory: Path, fd: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "mcp_sdk_demo.plane", "--fd", str(fd), "--directory", str(directory)]
    with (directory / "control-plane.log").open("wb") as log:
        return subprocess.Popen(  # noqa: S603 - our own module
            command,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            pass_fds=[fd],
            start_new_session=True,
        )


def _await(running: subprocess.Popen[bytes], url: str, directory: Path) -> None:
    deadline = time.monotonic() + STARTING
    while time.monotonic() < deadline and running.poll() is None:
        with suppress(httpx.TransportError):
            if httpx.get(f"{url}/readyz", timeout=2, trust_env=False).is_success:
                return
        time.sleep(0.05)
    lines = (directory / "control-plane.log").read_text(errors="replace").splitlines()[-LOG_LINES:]
    raise ServiceFailed("\n".join(["the control plane did not come up. Its log ends:", *lines]))


def _stop(running: subprocess.Popen[bytes]) -> None:
    running.stdin.close()  # type: ignore[union-attr]
    try:
        running.wait(STOPPING)
    except subprocess.TimeoutExpired:
        running.kill()
        running.wait()


def main() -> None:
    """Serve a control plane on the inherited socket ``--fd``, for as long as the demo that started it lives."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--fd", type=int, required=True)
    parser.add_argument("--directory", type=Path, required=True)
    options = parser.parse_args()
    threading.Thread(target=_watch, daemon=True).start()
    _serve(options.directory, options.fd)


def _serve(directory: Path, fd: int) -> None:
    from mcp_sdk.server.run import Bind, serve  # noqa: PLC0415 - only this process is a server
    from mcp_sdk.server.settings import ServerSettings  # noqa: PLC0415

    url = f"sqlite:///{directory / 'mesh.db'}"
    asyncio.run(_prepare(url, directory))
    serve(ServerSettings(store=url), Bind(fd=fd), announce=lambda _: None)


async def _prepare(url: str, directory: Path) -> None:
    """Make a token for the operator of the demo, and one for the services, which may do no more than they need."""
    from mcp_sdk.server.access.callers import Grant  # noqa: PLC0415 - as above
    from mcp_sdk.server.access.tokens import Tokens, mint  # noqa: PLC0415
    from mcp_sdk.stores.sqlite import connect  # noqa: PLC0415

    store = connect(url)
    await store.open()
    publisher = Grant("publisher", NAMESPACE)
    for name, given in (("operator", [Grant("operator", NAMESPACE), publisher]), ("services", [publisher])):
        token, text = mint(name, given, now=time.time())
        await Tokens(store).add(token)
        path = directory / name
        path.touch(mode=0o600)
        path.write_text(text)
    await store.close()


def _watch() -> None:
    while os.read(sys.stdin.fileno(), 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
