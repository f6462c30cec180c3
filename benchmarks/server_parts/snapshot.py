"""A hundred thousand rules: how long a client takes from its start to its first decision by them."""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from typing import Any

from policy_engines import programs
from policy_engines import rules as made

from mcp_sdk.context import Scope
from mcp_sdk.snapshot import PolicyRevision
from server_parts.processes import plane, replica, resident
from server_parts.publish import open_store


def measure(rules: int, store: str) -> dict[str, Any]:
    """Put ``rules`` rules in force by the store, and time a client from its start to its first decision by them."""
    whole = json.loads(programs.programs(made.rules("eq", rules).rules))
    with tempfile.TemporaryDirectory() as folder:
        place = store or f"sqlite:///{folder}/mesh.db"
        asyncio.run(_store_programs(place, whole))
        with replica(place) as (url, token, pid):
            one = plane(url, token)
            began = time.perf_counter()
            one.start([]).result(120)
            took = time.perf_counter() - began
            assert one.snapshot().revision == 1
            served = resident(pid)
            one.close(1)
    return {"rules": rules, "client_s": took, "server_mb": served / 2**20}


async def _store_programs(url: str, whole: dict[str, Any]) -> None:
    store = await open_store(url)
    await store.put_policies(Scope(), PolicyRevision(0, whole))
    await store.close()
