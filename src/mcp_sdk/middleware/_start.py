"""What the first request of a process does for all: the routes are declared, and the mesh is started."""

from __future__ import annotations

import asyncio
import atexit
import os
from threading import Lock

from mcp_sdk.mesh import Mesh
from mcp_sdk.middleware.routes import Routes, declare_routes

__all__ = ["Start"]


class Start:
    """The start of a mesh by whoever comes first; ``pid`` is the process that it is done in."""

    __slots__ = ("_lock", "_mesh", "_routes", "_running", "pid")

    def __init__(self, mesh: Mesh, routes: Routes | None) -> None:
        self.pid = 0
        self._mesh = mesh
        self._routes = routes
        self._running: asyncio.Future[None] | None = None
        self._lock = Lock()

    def run(self) -> None:
        """Start in synchronous code; others wait. Raises warnings about routes that are made errors."""
        with self._lock:
            if self.pid == os.getpid():
                return
            self._declare()
            alone = not self._mesh.started
            try:
                self._mesh.start()
            except Exception as error:  # noqa: BLE001 - the decision that follows is closed
                self._mesh.telemetry.failed("start", error)
            self._done(alone)

    async def arun(self) -> None:
        """Start on the running loop; others await the same. Raises what ``run`` does."""
        if self._running is None or self._running.get_loop() is not asyncio.get_running_loop():
            self._running = asyncio.ensure_future(self._started())
        await asyncio.shield(self._running)

    async def _started(self) -> None:
        self._declare()
        alone = not self._mesh.started
        try:
            await self._mesh.astart()
        except Exception as error:  # noqa: BLE001 - the decision that follows is closed
            self._mesh.telemetry.failed("start", error)
        self._done(alone)

    def _declare(self) -> None:
        if self._routes is not None:
            declare_routes(self._mesh, self._routes())

    def _done(self, alone: bool) -> None:  # noqa: FBT001 - alone: nobody else closes the mesh
        if self.pid != os.getpid():
            self.pid = os.getpid()
            if alone:
                atexit.register(self._mesh.close)
