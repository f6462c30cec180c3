"""Servers that some tests need: where they are, and what a test does where one is missing."""

from __future__ import annotations

import os
import socket
from contextlib import closing
from importlib.util import find_spec
from typing import Any, NoReturn

import pytest

POSTGRES = ("127.0.0.1", 5432)
REDIS = ("127.0.0.1", 6379)


def postgres() -> dict[str, Any]:
    """Give host, port, user and database of the PostgreSQL of the tests; skip, or fail where it is required."""
    if find_spec("psycopg") is None:
        missing("psycopg is not installed")
    listening("PostgreSQL", POSTGRES)
    return {"host": POSTGRES[0], "port": POSTGRES[1], "user": "postgres", "database": "test"}


def redis() -> str:
    """Give the URL of the Redis of the tests; skip, or fail where it is required."""
    if find_spec("redis") is None:
        missing("redis-py is not installed")
    listening("Redis", REDIS)
    return f"redis://{REDIS[0]}:{REDIS[1]}/0"


def listening(product: str, address: tuple[str, int]) -> None:
    """Skip, or fail where servers are required, when nothing listens on an address."""
    with closing(socket.socket()) as probe:
        probe.settimeout(2)
        if probe.connect_ex(address):
            missing(f"no {product} listens on {address[0]}:{address[1]}")


def missing(reason: str) -> NoReturn:
    """Skip, or fail where servers are required."""
    if os.environ.get("MCP_SDK_TEST_SERVICES") == "required":
        pytest.fail(reason)
    pytest.skip(reason)
