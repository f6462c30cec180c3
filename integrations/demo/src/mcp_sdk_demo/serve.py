"""Runs one service of the shop in its own process, for as long as the demo that started it lives.

The demo holds the other end of this process's standard input: when that closes, for whatever reason, the service stops.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import shutil
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any, NoReturn

__all__ = ["main"]

GRACE = 4.0
KEEP_ALIVE = 75
"""Seconds that an idle connection stays open: longer than a client keeps it, so that none is closed under a request."""


def main() -> None:
    """Serve ``module`` on the inherited socket ``--fd``."""
    parser = argparse.ArgumentParser()
    parser.add_argument("module")
    parser.add_argument("--server", choices=SERVERS, required=True)
    parser.add_argument("--fd", type=int, required=True)
    parser.add_argument("--directory", type=Path, required=True)
    options = parser.parse_args()
    parent = os.getppid()
    signal.signal(signal.SIGTERM, _exit)
    threading.Thread(target=_watch, daemon=True).start()
    _log_decisions(options.directory)
    try:
        module = importlib.import_module(f"mcp_sdk_demo.shop.{options.module}")
        SERVERS[options.server](module, socket.socket(fileno=options.fd))
    finally:
        if os.getppid() != parent:
            shutil.rmtree(options.directory, ignore_errors=True)


def _exit(_signum: int, _frame: object) -> NoReturn:
    raise SystemExit(0)


def _watch() -> None:
    while os.read(sys.stdin.fileno(), 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE)
    os._exit(1)


def _log_decisions(directory: Path) -> None:
    handler = logging.FileHandler(directory / f"{os.environ['MCP_SDK_INSTANCE']}.decisions.jsonl", encoding="utf-8")
    decisions = logging.getLogger("mcp_sdk.decisions")
    decisions.setLevel(logging.INFO)
    decisions.propagate = False
    decisions.addHandler(handler)


def _uvicorn(module: Any, listening: socket.socket) -> None:
    import uvicorn  # noqa: PLC0415 - a service loads its own server

    quiet: dict[str, Any] = {"access_log": False, "log_level": "warning"}
    config = uvicorn.Config(module.app, timeout_keep_alive=KEEP_ALIVE, timeout_graceful_shutdown=2, **quiet)
    uvicorn.Server(config).run(sockets=[listening])


def _waitress(module: Any, listening: socket.socket) -> None:
    import waitress  # type: ignore[import-untyped]  # noqa: PLC0415 - as above

    with module.mesh:
        waitress.create_server(module.app, sockets=[listening], threads=8).run()


SERVERS = {"uvicorn": _uvicorn, "waitress": _waitress}

if __name__ == "__main__":
    main()
