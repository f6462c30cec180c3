"""Private servers, and meshes on them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from nats_servers import Nats


@pytest.fixture
def make_server(tmp_path: Path) -> Iterator[Callable[..., Nats]]:
    """Start servers of a test's own; they end with it."""
    started: list[Nats] = []

    def start(**settings: Any) -> Nats:
        folder = tmp_path / f"nats{len(started)}"
        folder.mkdir()
        started.append(Nats(folder, **settings))
        return started[-1]

    yield start
    for server in started:
        server.end()


@pytest.fixture
def server(make_server: Callable[..., Nats]) -> Nats:
    """A server of the test's own, with JetStream."""
    return make_server()
