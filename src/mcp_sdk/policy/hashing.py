"""Split and sticky: which share of a split an id falls into.

``bucket = XXH64(seed 0, UTF-8 of "salt:id") modulo the total weight``, counted off along the weights in their listed
order: what Envoy's ``weighted_clusters.use_hash_policy`` does, so a proxy and any language agree. Source: xxHash
specification, XXH64.
"""

from __future__ import annotations

import importlib
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from itertools import accumulate
from typing import Any

from mcp_sdk.exceptions import MissingExtra

__all__ = ["bucket_of", "edges_of", "load_hash", "share_at"]


@cache
def load_hash() -> Callable[[bytes], int]:
    """Give XXH64 with seed 0; raises ``MissingExtra`` where xxhash is not installed."""
    try:
        xxhash: Any = importlib.import_module("xxhash")
    except ImportError:
        raise MissingExtra("xxhash", extra="policy", purpose="a policy with a sticky split") from None
    digest: Callable[[bytes], int] = xxhash.xxh64_intdigest
    return digest


def bucket_of(salt: str, value: str, total: int) -> int:
    r"""Give the bucket, 0 to ``total`` - 1, of an id; a lone surrogate in it is hashed as its escape ``\udXXX``."""
    return load_hash()(f"{salt}:{value}".encode("utf-8", "backslashreplace")) % total


def edges_of(weights: Iterable[int]) -> tuple[int, ...]:
    """Give the cumulative weights; the last is the total."""
    return tuple(accumulate(weights))


def share_at(edges: Sequence[int], bucket: int) -> int:
    """Give the number of the share that a bucket falls into; a share of weight 0 gets none."""
    return bisect_right(edges, bucket)
