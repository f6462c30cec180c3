"""Every verb here is typed twice: on a SQLite file, and on a server over one."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from serving import Replica
from verbs import ACCESS, TRAFFIC, Typist

NUMBERS = itertools.count(1)


@pytest.fixture(scope="session")
def replica(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replica]:
    """One server for all; each test has an environment of its own."""
    with Replica(tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture(params=["store", "server"])
def place(request: pytest.FixtureRequest) -> str:
    """Where the control plane runs."""
    return str(request.param)


@pytest.fixture
def typist(place: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Typist:
    """Somebody who types verbs in an empty folder."""
    monkeypatch.chdir(tmp_path)
    if place == "store":
        made = Typist(tmp_path, f"sqlite:///{tmp_path / 'mesh.db'}")
    else:
        server: Replica = request.getfixturevalue("replica")
        made = Typist(tmp_path, server.url, server.token, f"e{next(NUMBERS)}")
    for name, value in made.settings.items():
        monkeypatch.setenv(name, value)
    return made


@pytest.fixture
def seeded(typist: Typist) -> Typist:
    """The same, with two orders and two policies in force as revision 1."""
    typist.seed()
    assert typist("apply", typist.write(orders=ACCESS + TRAFFIC)) == 0, typist.err
    return typist
