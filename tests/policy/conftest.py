"""Fixtures of the policy tests: declared models, a request builder, golden files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from mcp_sdk.context import ModelContext
from mcp_sdk.decisions import DecisionRequest
from mcp_sdk.models import Attribute, BusinessModel

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
GOLDEN = Path(__file__).parent / "golden"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Register ``--update-golden``; pytest knows it when this folder is named on the command line."""
    try:
        parser.addoption(
            "--update-golden", action="store_true", help="write golden files anew instead of comparing with them"
        )
    except ValueError:
        return


@pytest.fixture(scope="session")
def models() -> Mapping[str, BusinessModel]:
    """The models that the policies of these tests speak of."""
    declared = (
        BusinessModel(
            "order",
            states=("created", "paid", "shipped"),
            attributes={
                "amount": "decimal",
                "items": "int",
                "ratio": "double",
                "express": "bool",
                "paid_at": "timestamp",
                "tags": "list",
                "channel": "string",
                "card": Attribute("card", sensitive=True),
            },
        ),
        BusinessModel(
            "order_line", states=("open", "closed"), attributes={"weight": Attribute("weight", "decimal", scale=3)}
        ),
        BusinessModel("user", attributes={"tier": "string"}, principal=True),
        BusinessModel("transfer", attributes={"amount": "decimal", "risk": "string"}),
    )
    return {model.name: model for model in declared}


@pytest.fixture(scope="session")
def context() -> Callable[..., ModelContext]:
    """Build a context whose attributes are program values: ``context("order", "o-1", "created", amount=100)``."""

    def build(model: str, entity_id: str = "1", state: str | None = None, **attributes: Any) -> ModelContext:
        return ModelContext(model, entity_id, state, attributes)

    return build


@pytest.fixture(scope="session")
def call() -> Callable[..., DecisionRequest]:
    """Build an inbound request with contexts in hand: ``call("orders", context, …, operation="GET /x")``."""

    def build(service: str, *contexts: ModelContext, **fields: Any) -> DecisionRequest:
        return DecisionRequest(service, **{"contexts": {one.model: one for one in contexts}, "now": NOW, **fields})

    return build


@pytest.fixture
def golden(pytestconfig: pytest.Config) -> Callable[[str, str], None]:
    """Compare a text with a checked-in file; ``--update-golden`` writes it."""

    def compare(name: str, text: str) -> None:
        path = GOLDEN / name
        if pytestconfig.getoption("--update-golden", default=False):
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        assert text == path.read_text()

    return compare
