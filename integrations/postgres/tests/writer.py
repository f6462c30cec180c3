"""A process that writes to a store until it is killed or done, and says on its output what was acknowledged.

``python writer.py URL NAME COUNT BATCH``: COUNT transitions, half of them on entities of its own and half on one that
all writers share, BATCH in one call; COUNT 0 never ends. One line of JSON a call: event id, entity id, status,
revision of each.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import sys

from mcp_sdk_postgres import connect

from mcp_sdk.context import Transition


async def main(url: str, name: str, count: int, batch: int) -> None:
    store = connect(url)
    await store.open()
    numbers = iter(range(count)) if count else itertools.count()
    while chosen := list(itertools.islice(numbers, batch)):
        moves = [Transition("order", "shared" if n % 2 else f"{name}-{n}", f"s{n}", f"{name}-{n}") for n in chosen]
        results = await store.append(moves)
        told = [(m.event_id, m.entity_id, r.status.value, r.revision) for m, r in zip(moves, results, strict=True)]
        sys.stdout.write(json.dumps(told) + "\n")
        sys.stdout.flush()
    await store.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
