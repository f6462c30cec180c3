"""The demo's command line as a process of its own, whose leftovers can be seen."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

SCRIPT = "from mcp_sdk.cli import run; run()"


class Demo:
    """Starts ``mcpctl demo shop`` with its temporary files in a directory of the test's."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.running: list[subprocess.Popen[str]] = []

    def start(self, *options: str) -> subprocess.Popen[str]:
        """Start it."""
        environment = {**os.environ, "TMPDIR": str(self.directory), "NO_COLOR": "1"}
        command = [sys.executable, "-c", SCRIPT, "demo", "shop", *options]
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        self.running.append(process)
        return process

    def services(self) -> list[str]:
        """Give the command lines of this test's services that run now."""
        listing = subprocess.run(["ps", "-ww", "-eo", "args"], capture_output=True, text=True, check=True).stdout
        return [line for line in listing.splitlines() if str(self.directory) in line and "-m mcp_sdk_demo." in line]

    def wait_for_services(self, count: int, seconds: float = 30) -> None:
        """Wait until that many services run."""
        assert self._wait(lambda: len(self.services()) >= count, seconds)

    def nothing_left(self, seconds: float = 10) -> bool:
        """Tell whether, after a moment at most, no service runs and no file is left."""
        return self._wait(lambda: not self.services() and not list(self.directory.iterdir()), seconds)

    def _wait(self, condition, seconds):
        deadline = time.monotonic() + seconds
        while not condition() and time.monotonic() < deadline:
            time.sleep(0.05)
        return condition()


@pytest.fixture
def demo(tmp_path):
    """A runner of the demo; what a failing test leaves running is killed."""
    runner = Demo(tmp_path)
    yield runner
    for process in runner.running:
        if process.poll() is None:
            process.kill()
        process.communicate()
