"""NATS servers of the tests: the one of the machine, and private ones that a test may stop and kill."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import nats
from servers import free_port
from services import listening, missing

ADDRESS = ("127.0.0.1", 4222)


def shared() -> tuple[str, int]:
    """Give the address of the machine's NATS; skip, or fail where it is required."""
    listening("NATS", ADDRESS)
    return ADDRESS


def remove(url: str, *names: str) -> None:
    """Take the streams of meshes away."""

    async def work() -> None:
        client = await nats.connect(url)
        for name in names:
            for stream in (name, f"{name}_state"):
                await client.request(f"$JS.API.STREAM.DELETE.{stream}", b"", timeout=10)
        await client.close()

    asyncio.run(work())


class Nats:
    """A private server with its store in ``folder``, on a port that it keeps when it is started again."""

    def __init__(self, folder: Path, *, jetstream: str = "", more: str = "", enabled: bool = True) -> None:
        if shutil.which("nats-server") is None:
            missing("nats-server is not installed")
        self.folder, self.port = folder, free_port()
        self.config = folder / "nats.conf"
        block = f"jetstream {{ store_dir: {json.dumps(str(folder / 'store'))}, {jetstream} }}" if enabled else ""
        self.config.write_text(f"listen: 127.0.0.1:{self.port}\n{block}\n{more}\n")
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, and wait until it listens."""
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(self._command(), stdout=log, stderr=log)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            assert self.process.poll() is None, (self.folder / "log").read_text()
            with socket.socket() as probe:
                if not probe.connect_ex(("127.0.0.1", self.port)):
                    return
            time.sleep(0.02)
        raise AssertionError("nats-server did not listen in time")

    def _command(self) -> Sequence[str]:
        return ["nats-server", "-c", str(self.config)]

    def end(self, how: signal.Signals = signal.SIGTERM) -> None:
        """Stop it as ``how`` says."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(how)
            self.process.wait(20)

    def empty(self) -> None:
        """Stop it, and throw away all that it holds."""
        self.end()
        shutil.rmtree(self.folder / "store")
