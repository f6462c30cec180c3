"""Which share of a split an id falls into: published vectors, so that any language can agree, and what moves when."""

from __future__ import annotations

import json
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_sdk.context import ModelContext
from mcp_sdk.decisions import DecisionRequest
from mcp_sdk.models import BusinessModel
from mcp_sdk.policy import Engine, check_policies, compile_policies
from mcp_sdk.policy.hashing import bucket_of, edges_of, load_hash, share_at

pytest.importorskip("xxhash")

VECTORS = Path(__file__).parents[2] / "docs" / "vectors" / "split.json"
WEIGHTS = [
    [80, 20],
    [1],
    [0, 1],
    [5, 0, 5],
    [0, 7, 0, 3, 0],
    [1, 1, 1],
    [2**31 - 1, 2**31 - 1, 1],
    [9999, 1],
]
VALUES = ["o-1", "o-2", "o-1001", "ä-1", "a\u0308-1", "é😀", "注文-7", "طلب-٣", "a:b%2F", "x" * 1000, " ", "\udc80"]
SALTS = ["shop/order-traffic/large", "default/order-traffic/large", "s", "", "salt:with:colons", "соль"]
KNOWN = [35, 35, 32, 65, 57, 20, 28, 99]
P1, P2, P3, P4, P5 = (
    11400714785074694791,
    14029467366897019727,
    1609587929392839161,
    9650029242287828579,
    2870177450012600261,
)
MASK = 2**64 - 1


def rotated(value: int, bits: int) -> int:
    """Rotate 64 bits to the left."""
    value &= MASK
    return (value << bits | value >> (64 - bits)) & MASK


def rounded(lane: int, word: int) -> int:
    """One round of XXH64."""
    return rotated(lane + word * P2, 31) * P1 & MASK


def xxh64(data: bytes) -> int:
    """XXH64 with seed 0, step by step as its specification describes it."""
    rest = data
    if len(data) >= 32:
        lanes = [(P1 + P2) & MASK, P2, 0, -P1 & MASK]
        while len(rest) >= 32:
            words = [int.from_bytes(rest[at : at + 8], "little") for at in (0, 8, 16, 24)]
            lanes, rest = [rounded(lane, word) for lane, word in zip(lanes, words, strict=True)], rest[32:]
        hashed = sum(rotated(lane, bits) for lane, bits in zip(lanes, (1, 7, 12, 18), strict=True)) & MASK
        for lane in lanes:
            hashed = ((hashed ^ rounded(0, lane)) * P1 + P4) & MASK
    else:
        hashed = P5
    hashed = (hashed + len(data)) & MASK
    while len(rest) >= 8:
        hashed = (rotated(hashed ^ rounded(0, int.from_bytes(rest[:8], "little")), 27) * P1 + P4) & MASK
        rest = rest[8:]
    if len(rest) >= 4:
        hashed = (rotated(hashed ^ int.from_bytes(rest[:4], "little") * P1, 23) * P2 + P3) & MASK
        rest = rest[4:]
    for byte in rest:
        hashed = rotated(hashed ^ byte * P5, 11) * P1 & MASK
    for bits, prime in ((33, P2), (29, P3)):
        hashed = (hashed ^ hashed >> bits) * prime & MASK
    return hashed ^ hashed >> 32


def row(salt: str, value: str, weights: list[int]) -> dict[str, Any]:
    """Give one vector, by the implementation above alone."""
    hashed = xxh64(f"{salt}:{value}".encode("utf-8", "backslashreplace"))
    bucket = hashed % sum(weights)
    share = next(number for number, edge in enumerate(accumulate(weights)) if edge > bucket)
    return {"salt": salt, "value": value, "weights": weights, "hash": str(hashed), "bucket": bucket, "share": share}


def at_the_edges() -> list[dict[str, Any]]:
    """Give ids that fall into the first and the last bucket of each share of 80/20 and of 5/0/5."""
    found: dict[tuple[int, int], dict[str, Any]] = {}
    for number in range(20_000):
        for weights, wanted in (([80, 20], (0, 79, 80, 99)), ([5, 0, 5], (0, 4, 5, 9))):
            vector = row("edges", f"o-{number}", weights)
            if vector["bucket"] in wanted:
                found.setdefault((len(weights), vector["bucket"]), vector)
        if len(found) == 8:
            break
    return [found[key] for key in sorted(found)]


def vectors() -> list[dict[str, Any]]:
    """Give what the published file is to hold."""
    dealt = [row(salt, value, weights) for salt in SALTS for value in VALUES for weights in WEIGHTS]
    return [*at_the_edges(), *dealt]


def test_the_published_vectors_are_those_of_the_specification(request: pytest.FixtureRequest) -> None:
    """The file holds what XXH64, written anew from its specification, gives."""
    lines = ",\n".join(json.dumps(vector, ensure_ascii=True) for vector in vectors())
    text = f"[\n{lines}\n]\n"
    if request.config.getoption("--update-golden", default=False):
        VECTORS.write_text(text)
    assert VECTORS.read_text() == text


def test_every_published_vector_holds_here() -> None:
    """Hash, bucket and share, at edges, with weights of 0, in every script."""
    for vector in json.loads(VECTORS.read_text()):
        edges = edges_of(vector["weights"])
        text = f"{vector['salt']}:{vector['value']}".encode("utf-8", "backslashreplace")
        assert str(load_hash()(text)) == vector["hash"]
        bucket = bucket_of(vector["salt"], vector["value"], edges[-1])
        assert (bucket, share_at(edges, bucket)) == (vector["bucket"], vector["share"])


@given(st.binary(max_size=100))
def test_the_hash_is_xxh64(data: bytes) -> None:
    """The library and the specification agree on any bytes."""
    assert load_hash()(data) == xxh64(data)


def test_known_buckets_never_move() -> None:
    """These buckets are fixed for all versions and languages."""
    assert [bucket_of("salt", f"o-{number}", 100) for number in range(8)] == KNOWN


def moves(before: list[int], after: list[int]) -> list[tuple[int, int]]:
    """Give from where to where each bucket goes that goes elsewhere."""
    edges = edges_of(before), edges_of(after)
    shares = [(share_at(edges[0], bucket), share_at(edges[1], bucket)) for bucket in range(sum(before))]
    return [pair for pair in shares if pair[0] != pair[1]]


@given(weights=st.lists(st.integers(0, 60), min_size=2, max_size=5).filter(any), data=st.data())
def test_what_goes_between_neighbours_is_all_that_moves(weights: list[int], data: st.DataObject) -> None:
    """Weight given to the next share, the total kept, moves just so many buckets, all from the one to the other."""
    giver = data.draw(st.integers(0, len(weights) - 2))
    given_up = data.draw(st.integers(0, weights[giver]))
    after = list(weights)
    after[giver] -= given_up
    after[giver + 1] += given_up
    assert moves(weights, after) == [(giver, giver + 1)] * given_up
    assert moves(after, weights) == [(giver + 1, giver)] * given_up


@given(old=st.integers(0, 100), new=st.integers(0, 100))
def test_of_two_versions_only_what_must_move_moves(old: int, new: int) -> None:
    """From 80/20 to 90/10 a tenth moves, and nobody from the share that grows."""
    wanted = (1, 0) if new > old else (0, 1)
    assert moves([old, 100 - old], [new, 100 - new]) == [wanted] * abs(new - old)


def test_a_shift_past_a_third_version_pushes_it_along() -> None:
    """What goes from the first to the third moves twice: the documentation says to list the two side by side."""
    assert len(moves([50, 30, 20], [40, 30, 30])) == 20
    assert len(moves([30, 50, 20], [30, 40, 30])) == 10


def engine_of(weights: str) -> Engine:
    """Give an engine that splits orders so."""
    text = (
        "kind: TrafficPolicy\nmetadata: {name: p}\nspec:\n  target: {service: s}\n  rules:\n"
        f'  - {{name: r, when: "true", route: {{split: {{{weights}}}, sticky: order.id}}}}\n'
    )
    models = {"order": BusinessModel("order")}
    return Engine(compile_policies({"p": text}, models), models)


def version(engine: Engine, order: str) -> str:
    """Give the version that an order goes to."""
    route = engine.decide(DecisionRequest("s", contexts={"order": ModelContext("order", order)})).route
    assert route is not None
    assert route.subset is not None
    return route.subset.version


def test_a_new_revision_of_weights_moves_just_the_orders_in_between() -> None:
    """Whole decisions: those whose bucket lies between the two boundaries move from v1 to v2, and no other order."""
    before, after = engine_of("v2: 80, v1: 20"), engine_of("v2: 90, v1: 10")
    for number in range(2000):
        order = f"o-{number}"
        moved = 80 <= bucket_of("default/p/r", order, 100) < 90
        was, now = version(before, order), version(after, order)
        assert (was, now) == ("v1", "v2") if moved else was == now


@pytest.mark.parametrize("extra", [1, 2])
def test_weights_add_up_to_no_more_than_a_proxy_takes(extra: int) -> None:
    """2^32 - 1 in all is the most, in YAML and in the text of route rules."""
    weights = f"a: {2**31 - 1}, b: {2**31 - 1}, c: {extra}"
    text = "kind: TrafficPolicy\nmetadata: {name: p}\nspec:\n  target: {service: s}\n"
    yaml = f'{text}  rules:\n  - {{when: "true", route: {{split: {{{weights}}}}}}}\n'
    rules = f"{text}  route_rules: |\n    when(true) then route_to(split={{{weights}}}) else route_to(version=v1)\n"
    for source in (yaml, rules):
        findings = [finding for finding in check_policies({"p": source}, {}) if finding.severity == "error"]
        assert any("add up to more than 4294967295" in finding.message for finding in findings) == (extra == 2)
