"""Which share of a split an id falls into: published vectors, so that any language can agree."""

from __future__ import annotations

from collections import Counter

import pytest

from mcp_sdk.policy.hashing import bucket_of, edges_of, share_at

KNOWN = [35, 35, 32, 65, 57, 20, 28, 99]
VECTORS = [
    ("shop/order-traffic/large", "o-1", 100),
    ("shop/order-traffic/large", "", 100),
    ("", "", 2**31 - 1),
    ("s", "é😀", 1000),
]


@pytest.mark.parametrize(("salt", "value", "total"), VECTORS)
def test_the_bucket_is_xxh64_of_salt_and_id(salt: str, value: str, total: int) -> None:
    """The bucket is XXH64, seed 0, of the UTF-8 of ``salt:id``, modulo the total weight."""
    xxhash = pytest.importorskip("xxhash")
    assert bucket_of(salt, value, total) == xxhash.xxh64(f"{salt}:{value}".encode(), seed=0).intdigest() % total


def test_known_buckets_never_move() -> None:
    """These buckets are fixed for all versions and languages."""
    assert [bucket_of("salt", f"o-{number}", 100) for number in range(8)] == KNOWN


def test_a_bucket_falls_into_its_share_in_listed_order() -> None:
    """Shares are counted off along their weights; a share of weight 0 gets none."""
    assert [share_at(edges_of([2, 0, 1]), bucket) for bucket in range(3)] == [0, 0, 2]
    assert share_at(edges_of([0, 5]), 0) == 1


def test_changed_weights_move_only_the_share_that_must_move() -> None:
    """From 80/20 to 90/10, a tenth of the ids moves, all of it from the second share to the first."""
    before = [share_at([80, 100], bucket_of("s", str(number), 100)) for number in range(4000)]
    after = [share_at([90, 100], bucket_of("s", str(number), 100)) for number in range(4000)]
    moves = Counter(zip(before, after, strict=True))
    assert moves[(0, 1)] == 0
    assert 300 < moves[(1, 0)] < 500


def test_a_lone_surrogate_has_a_bucket() -> None:
    """An id that is no valid Unicode still falls somewhere, always the same."""
    assert bucket_of("s", "\ud800", 10) == bucket_of("s", "\ud800", 10)
