"""Processes and clients of the server's measurements: a replica, crowds of clients in at most four processes."""

from __future__ import annotations

import multiprocessing
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from mcp_sdk import BusinessModel, Config
from mcp_sdk.clients.remote import RemoteControlPlane
from mcp_sdk.ports import Identity
from mcp_sdk.telemetry import Telemetry

ORDER = BusinessModel("order", states=("created", "paid", "shipped"))
PROCESSES = 4
ALONE = 0.5
"""Seconds of ``sys.setswitchinterval`` in processes that hold many clients. A service has one; here hundreds of threads
wait for one interpreter, and by default each wakes every 5 ms to ask for it: that took ten times what clients do."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def serving(command: list[str], url: str, folder: str) -> Iterator[int]:
    """Run a server until it answers; give its process id."""
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while True:
            try:
                httpx.get(f"{url}/readyz", trust_env=False)
                break
            except httpx.TransportError:
                time.sleep(0.05)
        yield process.pid
    finally:
        process.terminate()
        process.wait(20)


@contextmanager
def replica(store: str, *options: str) -> Iterator[tuple[str, str, int]]:
    """Run ``mcpctl serve``; give its address, the token of its first admin, and its process id."""
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        url, place = f"http://127.0.0.1:{port}", store or f"sqlite:///{folder}/mesh.db"
        command = [
            sys.executable,
            "-m",
            "mcp_sdk.cli",
            "serve",
            "--store",
            place,
            "--port",
            str(port),
            "--new-admin",
            *options,
        ]
        with serving([*command, "--token-file", f"{folder}/token"], url, folder) as pid:
            yield url, Path(f"{folder}/token").read_text().strip(), pid


def resident(pid: int) -> int:
    """Give the resident memory of a process in bytes."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def processor_seconds(pid: int) -> float:
    """Give how long a process has run on a processor; other work on the machine touches it less than the clock."""
    tasks = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9


def plane(url: str, token: str, **settings: Any) -> RemoteControlPlane:
    config = Config(service="shop", control_plane=url, token=token, **settings)
    return RemoteControlPlane(url, Identity("shop"), config, Telemetry())


@contextmanager
def crowd(target: Any, url: str, token: str, count: int, *more: Any) -> Iterator[tuple[Any, Sequence[int]]]:
    """Run ``target(url, token, share, ready, told, end, *more)`` in processes; give ``told`` and their ids."""
    context = multiprocessing.get_context("spawn")
    ready, told, end = context.Queue(), context.Queue(), context.Event()
    shares = [count // PROCESSES + (number < count % PROCESSES) for number in range(PROCESSES)]
    processes = [
        context.Process(target=target, args=(url, token, share, ready, told, end, *more)) for share in shares if share
    ]
    for process in processes:
        process.start()
    for _ in processes:
        ready.get(timeout=600)
    try:
        yield told, [process.pid or 0 for process in processes]
    finally:
        end.set()
        for process in processes:
            process.join(60)
            process.kill()


def quantiles(delays: Sequence[float]) -> dict[str, float]:
    """Give what half, 99 of 100 and all delays stay below; they are in seconds."""
    ordered = sorted(delays)
    return {
        "p50_ms": statistics.median(ordered) * 1000,
        "p99_ms": ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))] * 1000,
        "max_ms": ordered[-1] * 1000,
    }
