"""A control-plane server for tests: a process of its own, on a free loopback port."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx
from servers import free_port


def resident(pid: int) -> int:
    """Give the resident memory of a process in bytes."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()


class Replica:
    """``mcpctl serve`` over ``store`` (a file in ``directory`` unless given); its log is ``serve-PORT.log`` there.

    ``inside`` are words before its command, e.g. those that run it in a network namespace.
    """

    def __init__(
        self,
        directory: Path,
        store: str = "",
        *,
        port: int = 0,
        token: str = "",
        host: str = "127.0.0.1",
        inside: tuple[str, ...] = (),
        options: tuple[str, ...] = (),
    ):
        self.directory, self.port, self.options, self.inside = directory, port or free_port(), options, inside
        self.store = store or f"sqlite:///{directory / 'mesh.db'}"
        self.host, self.url = host, f"http://{host}:{self.port}"
        self._token = token

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def token(self) -> str:
        """The first admin's token."""
        return self._token or (self.directory / "token").read_text().strip()

    @property
    def pid(self) -> int:
        """The process."""
        return self.process.pid

    def start(self) -> None:
        """Start it, and wait until it is ready."""
        command = [*self.inside, sys.executable, "-m", "mcp_sdk.cli", "serve", "--store", self.store]
        command += ["--host", self.host, "--port", str(self.port)]
        command += ["--token-file", str(self.directory / "token"), *self.options]
        with (self.directory / f"serve-{self.port}.log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.directory, env=dict(os.environ))
        try:
            self._await_ready()
        except BaseException:
            self.kill()
            raise

    def _await_ready(self) -> None:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            assert self.process.poll() is None, (self.directory / f"serve-{self.port}.log").read_text()[-2000:]
            with suppress(httpx.TransportError):
                if httpx.get(f"{self.url}/readyz", timeout=2, trust_env=False).status_code == 200:
                    return
            time.sleep(0.05)
        raise AssertionError("the server was not ready in time")

    def stop(self) -> int:
        """End it as an operator does, and give its exit status."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            return self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def kill(self) -> None:
        """End it as a failing machine does."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)
