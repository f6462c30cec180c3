"""Waiting for what comes to hold by itself."""

from __future__ import annotations

import time
from collections.abc import Callable

PATIENCE = 30.0


def until(holds: Callable[[], object], seconds: float = PATIENCE) -> None:
    """Wait until something holds; fail where it does not in time."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not come to hold in time"
        time.sleep(0.02)
