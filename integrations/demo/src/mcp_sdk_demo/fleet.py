"""The shop's processes: started, watched until they are ready, and stopped, whatever happens."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from mcp_sdk.exceptions import MeshError
from mcp_sdk_demo.topology import TOPOLOGY, Process, expected_endpoints

__all__ = ["Fleet", "ServiceFailed"]

LOG_LINES = 15
STOPPING = 6.0
POLL = 0.05
LEARNING = 1.0
REFUSED = "refused"
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class ServiceFailed(MeshError):
    """A service of the demo did not start, or ended too early; the message holds the last lines of its log."""


class Fleet:
    """Runs ``processes``, logs in ``directory``. Use it as a context manager: none outlives it.

    Each listens on a socket that was bound here, so two demos never race for a port. Each has a pipe from this process
    as its standard input and ends when that closes, which the kernel sees to even if this process is killed.
    """

    def __init__(
        self, directory: Path, environment: Mapping[str, str], processes: Sequence[Process] = TOPOLOGY
    ) -> None:
        self._directory = directory
        self._processes = processes
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("MCP_SDK_", "OTEL_"))}
        self.environment = {**inherited, **environment, "PYTHONUNBUFFERED": "1"}
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self.urls: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self._processes)

    def __enter__(self) -> Self:
        try:
            for process in self._processes:
                self._start(process)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _start(self, process: Process) -> None:
        with socket.create_server(("127.0.0.1", 0), backlog=512) as listening:
            url = f"http://127.0.0.1:{listening.getsockname()[1]}"
            command = [sys.executable, "-m", "mcp_sdk_demo.serve", process.module]
            command += ["--server", process.server, "--fd", str(listening.fileno())]
            command += ["--directory", str(self._directory)]
            with self.log(process.instance).open("wb") as log:
                self._running[process.instance] = subprocess.Popen(  # noqa: S603 - our own module
                    command,
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=self.environment | process.environment(url),
                    cwd=self._directory,
                    pass_fds=[listening.fileno()],
                    start_new_session=True,
                )
        self.urls[process.instance] = url

    def log(self, instance: str) -> Path:
        """Give the path of an instance's log."""
        return self._directory / f"{instance}.log"

    @property
    def pids(self) -> dict[str, int]:
        """Process ids by instance."""
        return {instance: running.pid for instance, running in self._running.items()}

    def wait(self, revision: int, timeout: float) -> None:
        """Wait until every service decides by a revision of the policies and could call every other.

        One whose health is refused to be told, by the very policies, gets a second to learn them. Raises
        ``ServiceFailed`` for one that ended, or is not ready in ``timeout`` seconds.
        """
        deadline = time.monotonic() + timeout
        ready = {"revision": revision, "reaches": expected_endpoints()}
        for instance, url in self.urls.items():
            while (told := self._health(url)) not in (ready, REFUSED):
                if time.monotonic() > deadline:
                    raise self._failed(instance, f"is not ready after {timeout:.0f} s")
                time.sleep(POLL)
            time.sleep(LEARNING if told == REFUSED else 0)

    def _health(self, url: str) -> Any:
        self.check()
        try:
            with _opener.open(f"{url}/health", timeout=2) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            return REFUSED if error.code in (401, 403, 429) else None
        except (urllib.error.URLError, OSError, ValueError):
            return None

    def check(self) -> None:
        """Raise ``ServiceFailed`` when a process has ended."""
        for instance, running in self._running.items():
            if running.poll() is not None:
                raise self._failed(instance, f"ended with status {running.returncode}")

    def _failed(self, instance: str, what: str) -> ServiceFailed:
        with suppress(OSError):
            lines = self.log(instance).read_text(errors="replace").splitlines()[-LOG_LINES:]
            return ServiceFailed("\n".join([f"{instance} {what}. Its log ends:", *(f"  {line}" for line in lines)]))
        return ServiceFailed(f"{instance} {what}.")

    def stop(self) -> None:
        """Stop every process, kindly first; returns when none is left. May be called twice."""
        for running in self._running.values():
            with suppress(OSError):
                running.stdin.close()  # type: ignore[union-attr]
        deadline = time.monotonic() + STOPPING
        for running in self._running.values():
            with suppress(subprocess.TimeoutExpired):
                running.wait(max(0.0, deadline - time.monotonic()))
        for running in self._running.values():
            if running.poll() is None:
                with suppress(ProcessLookupError):
                    os.killpg(running.pid, signal.SIGKILL)
                running.wait()
        self._running.clear()
