"""Real servers, each a process on a free loopback port."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx

GUNICORN = ("gunicorn", "--bind", "127.0.0.1:PORT", "--worker-tmp-dir", "/tmp", "--log-level", "warning")
UVICORN = ("uvicorn", "--port", "PORT", "--log-level", "warning")


def free_port() -> int:
    """Give a port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """A module that serves, run in ``directory``, and a client of it; ``PORT`` in the command is its port.

    Once made it listens, and has been asked nothing: its workers start their meshes with the test's own requests.
    ``stop`` ends it as an operator does.
    """

    def __init__(self, *command: str, directory: Path, port: int = 0, **environ: str) -> None:
        port = port or free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.client = httpx.Client(base_url=self.url, timeout=30)
        whole = [sys.executable, "-m", *(part.replace("PORT", str(port)) for part in command)]
        self.process = subprocess.Popen(whole, cwd=directory, env={**os.environ, **environ})
        try:
            self._await_port(port)
        except BaseException:
            self.stop()
            raise

    def _await_port(self, port: int) -> None:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            assert self.process.poll() is None, f"the server ended with {self.process.returncode}"
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
            except OSError:
                time.sleep(0.05)
            else:
                return
        raise AssertionError("the server did not listen in time")

    def stop(self) -> int:
        """End it, and give its exit status."""
        self.client.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)
