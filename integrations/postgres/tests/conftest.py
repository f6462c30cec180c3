"""A PostgreSQL, and schemas of the tests' own in it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[3] / "tests" / "support"))

from schemas import Schemas
from services import postgres


@pytest.fixture
def schemas() -> Iterator[Schemas]:
    """Give schemas of the test's own; they are dropped at its end."""
    with Schemas(postgres()) as schemas:
        yield schemas
