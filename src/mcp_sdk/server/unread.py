"""What bounds how long what is sent waits for a reader: a connection that takes nothing is cut off."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from typing import Any

__all__ = ["PIECE", "WRITE_TIME", "Impatient"]

PIECE = 256 * 1024
"""Bytes of a large answer that are written at once."""
PROGRESS, UNSENT = 16 * 1024, 64 * 1024
"""Bytes that have to leave this process within ``write_time``, and those that the kernel takes beyond what is sent.

Left to itself it takes megabytes, and then nothing for as long as a slow reader needs for a third of them.
"""
WRITE_TIME = "mcp_sdk.write_time"
"""Where the state of the application (ASGI, lifespan) says the seconds that a reader has."""
SECONDS = 30.0


class Impatient:
    """A protocol of uvicorn's that cuts off a connection of which less than ``UNSENT`` was read in ``write_time``.

    Nothing else would let go of what waits for somebody who never reads: closing waits for the reader too, and a ping
    without an answer only closes.
    """

    loop: asyncio.AbstractEventLoop
    transport: asyncio.Transport
    app_state: dict[str, Any]
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Have every byte that waits counted: a small rest would be waited for as long as a large one."""
        super().connection_made(transport)  # type: ignore[misc]
        self.transport.set_write_buffer_limits(high=1, low=0)  # with 0 a TLS transport waits when nothing does
        with suppress(OSError, AttributeError):  # a Unix socket has no such thing, nor do all systems
            transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT)

    def pause_writing(self) -> None:
        """Begin to count; something waits that the connection does not take at once."""
        super().pause_writing()  # type: ignore[misc]
        self._wait()

    def resume_writing(self) -> None:
        """Wait no longer: all but a little was taken."""
        self._stop()
        super().resume_writing()  # type: ignore[misc]

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no longer."""
        self._stop()
        super().connection_lost(exc)  # type: ignore[misc]

    def _stop(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _wait(self) -> None:
        waiting = self.transport.get_write_buffer_size()
        self._deadline = self.loop.call_later(self.app_state.get(WRITE_TIME, SECONDS), self._look, waiting)

    def _look(self, before: int) -> None:
        if self.transport.get_write_buffer_size() > before - PROGRESS:
            self.transport.abort()
        else:
            self._wait()
