"""The rule in Lua is the rule of the ledger: found out by random work against the store in memory."""

from __future__ import annotations

import os
import uuid

import pytest
from agreement import Agreement
from hypothesis import settings
from mcp_sdk_redis import RedisStore, connect
from redis import Redis
from redis_servers import erase
from services import redis

PREFIX = "mcp_sdk_test:agreement"


class RedisAgreement(Agreement):
    def make(self) -> RedisStore:
        self.prefix = f"{PREFIX}:{uuid.uuid4().hex}"
        return connect(f"{redis()}?prefix={self.prefix}")

    def clear(self) -> None:
        with Redis.from_url(redis()) as client:
            erase(client, self.prefix)


@pytest.mark.services
class TestAgreement(RedisAgreement.TestCase):
    settings = settings(
        max_examples=int(os.environ.get("MCP_SDK_TEST_EXAMPLES", "60")), stateful_step_count=25, deadline=None
    )
