"""Clients of a server with tokens that no other token made."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
from serving import Replica

from mcp_sdk.context import MESH
from mcp_sdk.server.access.callers import Grant
from mcp_sdk.server.access.tokens import mint
from mcp_sdk.stores.sqlite import connect


@contextmanager
def mint_client(replica: Replica, *grants: Grant, service: str = "") -> Iterator[httpx.Client]:
    """Give a client with a token of its own, put into the store as the server's own command does."""

    async def add() -> str:
        store = connect(replica.store, poll_interval=0.05)
        await store.open()
        try:
            token, text = mint("test", list(grants), service=service, now=time.time())
            await store.put_record(MESH, token.record())
            return text
        finally:
            await store.close()

    headers = {"authorization": f"Bearer {asyncio.run(add())}"}
    with httpx.Client(base_url=replica.url, headers=headers, trust_env=False, timeout=20) as client:
        deadline = time.monotonic() + 10
        while client.get("/v1/models").status_code == 401:
            assert time.monotonic() < deadline, "the replica did not hear of the token"
            time.sleep(0.02)
        yield client
