"""Found out by random work: PostgreSQL says and holds what memory does."""

from __future__ import annotations

import pytest
from agreement import Agreement
from hypothesis import settings
from mcp_sdk_postgres import PostgresStore, connect
from schemas import Schemas
from services import postgres


class PostgresAgreement(Agreement):
    """The other store is a schema."""

    def make(self) -> PostgresStore:
        self.schemas = Schemas(postgres())
        return connect(self.schemas.url())

    def clear(self) -> None:
        self.schemas.close()


TestAgreement = pytest.mark.services(PostgresAgreement.TestCase)
TestAgreement.settings = settings(max_examples=15, stateful_step_count=15, deadline=None)
