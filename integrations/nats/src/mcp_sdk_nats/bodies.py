"""Bodies that may be larger than a message: policies of a hundred thousand rules, checkpoints.

A body is compressed, and cut into pieces that stand in the state before anybody is told where they are.
"""

from __future__ import annotations

import asyncio
import base64
import json
import uuid
import zlib
from collections.abc import Mapping
from typing import Any

from mcp_sdk.exceptions import StoreError
from mcp_sdk_nats.streams import Streams

__all__ = ["erase", "load", "save"]

INLINE = 0.5
ABREAST = 16


async def save(streams: Streams, plain: Any) -> dict[str, Any]:
    """Put plain JSON where there is room for it; gives what ``load`` needs to find it."""
    packed = zlib.compress(json.dumps(plain, separators=(",", ":")).encode(), 1)
    if len(packed) * 4 / 3 < streams.room * INLINE:
        return {"inline": base64.b64encode(packed).decode()}
    size, name = streams.room // 2, uuid.uuid4().hex
    pieces = [packed[start : start + size] for start in range(0, len(packed), size)]
    for start in range(0, len(pieces), ABREAST):
        part = list(enumerate(pieces))[start : start + ABREAST]
        await asyncio.gather(*(streams.put(f"b{name}-{number}", piece) for number, piece in part))
    return {"name": name, "pieces": len(pieces)}


async def load(streams: Streams, where: Mapping[str, Any]) -> Any:
    """Give what ``save`` put."""
    if "inline" in where:
        return json.loads(zlib.decompress(base64.b64decode(where["inline"])))
    unpack, parts = zlib.decompressobj(), list[bytes]()
    for number in range(where["pieces"]):
        found = await streams.look(f"b{where['name']}-{number}")
        if found is None:
            raise StoreError(f"piece {number} of {where['name']} is missing from the state of this mesh in NATS.")
        parts.append(unpack.decompress(found.body))
    return json.loads(b"".join(parts) + unpack.flush())


async def erase(streams: Streams, where: Mapping[str, Any]) -> None:
    """Overwrite what ``save`` put."""
    for number in range(where.get("pieces", 0)):
        await streams.clear(f"b{where['name']}-{number}")
