"""A writer of which half a pipeline arrives: it holds the lock of the log's head, and never sends the rest.

``python holder.py URL``; says ``held`` once it holds it.
"""

from __future__ import annotations

import asyncio
import sys

from mcp_sdk_postgres import connect
from mcp_sdk_postgres.address import read
from mcp_sdk_postgres.connections import Connections


async def main(url: str) -> None:
    store, address = connect(url), read(url)
    await store.open()
    await store.close()
    async with Connections(address, "holder").use() as connection:
        wire = connection.pgconn
        wire.enter_pipeline_mode()
        for statement in ("BEGIN", f"UPDATE {address.quoted}.head SET seq = seq"):
            wire.send_query_params(statement.encode(), [])
        wire.send_flush_request()
        wire.flush()
        await asyncio.sleep(1)
        print("held", flush=True)
        await asyncio.sleep(600)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
