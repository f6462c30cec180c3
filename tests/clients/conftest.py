"""A server for clients."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from serving import Replica


@pytest.fixture
def replica(tmp_path: Path) -> Iterator[Replica]:
    """A server over a file of its own."""
    with Replica(tmp_path) as running:
        yield running
