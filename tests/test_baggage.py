"""Business context in the baggage header: what is sent, what is read, and what of it is believed."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import Context

from mcp_sdk.baggage import (
    LATELY,
    MAX_LATELY,
    MAX_MEMBERS,
    MAX_OUR_BYTES,
    Codec,
    Encoded,
    Parsed,
    Problem,
    admit,
    foreign,
    merged,
)
from mcp_sdk.context import EntityRef, ModelContext, Trust
from mcp_sdk.models import Attribute, BusinessModel
from mcp_sdk.ports import Identity, SigningKey
from mcp_sdk.signing import Keyring

NOW = 1_767_225_600.25
ME = Identity("order-service", mesh="m", namespace="shop", environment="test")
RING = Keyring((SigningKey("k1", b"k" * 32),))
ORDER = BusinessModel(
    "order",
    states=("created", "paid"),
    attributes={
        "amount": Attribute("amount", "decimal", priority=5),
        "note": Attribute("note", "string", priority=-1),
        "express": Attribute("express", "bool"),
        "weight": Attribute("weight", "double"),
        "items": Attribute("items", "int"),
        "due": Attribute("due", "timestamp"),
        "tags": Attribute("tags", "list"),
        "card": Attribute("card", "string", sensitive=True),
        "shelf": Attribute("shelf", "string", travels=False),
    },
)
USER = BusinessModel("user", attributes={"tier": Attribute("tier")})
MODELS = {"order": ORDER, "user": USER}
CREATED = ModelContext("order", "o-1", "created", {"amount": 150_000}, 7)


def codec(
    ring: Keyring = RING, identity: Identity = ME, models: dict[str, BusinessModel] = MODELS, **times: float
) -> Codec:
    """Make a codec as another process of the mesh would have it."""
    return Codec(ring, identity, models, **times)


CODEC = codec()


def encode(*contexts: ModelContext, others: tuple[str, ...] = ()) -> str:
    """Give the header of some contexts."""
    return CODEC.encode(contexts, now=NOW, others=others).header


def parse(*lines: str | bytes, now: float = NOW, by: Codec = CODEC) -> Parsed:
    """Read header lines."""
    return by.parse(lines, now=now)


def received(context: ModelContext) -> ModelContext:
    """Give a context as the next service sees it."""
    return context.but(trust=Trust.VERIFIED, source="order-service")


def sent(header: str) -> list[str]:
    """Give the names of our members in a header, without the prefix."""
    return [raw.partition("=")[0].removeprefix("mcp_sdk.") for raw in header.split(",")]


texts = st.text(min_size=1)
int64s = st.integers(-(2**63), 2**63 - 1)
orders = st.builds(
    ModelContext,
    model=st.just("order"),
    entity_id=st.text(max_size=40),
    state=st.none() | texts,
    attributes=st.fixed_dictionaries(
        {},
        optional={
            "amount": int64s,
            "note": st.text(max_size=30),
            "express": st.booleans(),
            "weight": st.floats(allow_nan=False),
            "items": int64s,
            "due": st.datetimes(timezones=st.just(UTC)),
            "tags": st.lists(st.text(max_size=5), max_size=4).map(tuple),
        },
    ),
    revision=st.integers(0, 10**18 - 1),
    tentative=st.booleans(),
)


# What is on the wire


def test_members_are_flat_and_readable() -> None:
    """Any client that reads baggage can make sense of an order."""
    assert encode(CREATED).rpartition(".")[0] == (
        "mcp_sdk.order.id=o-1,mcp_sdk.order.state=created,mcp_sdk.order.rev=7,mcp_sdk.order.amount=150000,"
        "mcp_sdk.peer=order-service,mcp_sdk.sig=k1.1767225661"
    )


def test_a_tentative_revision_is_marked() -> None:
    """The plus is percent-encoded, for a raw one would read as a space."""
    header = encode(CREATED.but(tentative=True))
    assert "mcp_sdk.order.rev=7%2B," in header
    assert parse(header).contexts["order"].tentative


def test_a_call_about_nothing_still_says_who_calls() -> None:
    """So the receiver knows its peer."""
    parsed = parse(encode())
    assert (parsed.peer, parsed.trust, dict(parsed.contexts)) == ("order-service", Trust.VERIFIED, {})


def test_a_process_without_a_name_and_contexts_sends_nothing() -> None:
    """No header is better than a signature over nothing."""
    assert codec(identity=Identity("")).encode([], now=NOW) == Encoded("")


def test_what_is_sensitive_or_stays_at_home_is_never_sent() -> None:
    """By declaration, and so without a count."""
    encoded = CODEC.encode([CREATED.but(attributes={"card": "4111", "shelf": "A", "note": "n"})], now=NOW)
    assert sent(encoded.header) == ["order.id", "order.state", "order.rev", "order.note", "peer", "sig"]
    assert not encoded.dropped


def test_attributes_that_nobody_declared_are_not_sent() -> None:
    """Nobody said that they are harmless."""
    encoded = CODEC.encode(
        [CREATED.but(attributes={"pin": "1"}), ModelContext("cart", "c", attributes={"x": "y"})], now=NOW
    )
    assert sent(encoded.header) == ["order.id", "order.state", "order.rev", "cart.id", "peer", "sig"]
    assert encoded.dropped == {Problem.UNDECLARED: 2}


def test_attributes_that_only_a_verified_peer_declares_are_sent_on() -> None:
    """A service in the middle that does not know a model loses nothing of it."""
    middle = codec(identity=replace(ME, service="gateway"), models={})
    seen = parse(encode(CREATED), by=middle)
    assert seen.contexts["order"].attributes == {"amount": "150000"}
    again = middle.encode(seen.contexts.values(), now=NOW).header
    assert parse(again).contexts["order"] == CREATED.but(trust=Trust.VERIFIED, source="gateway")


def test_a_value_that_cannot_be_written_is_dropped_and_counted() -> None:
    """A wrong type or a lone surrogate costs the attribute; in the id it costs the context."""
    contexts = [CREATED.but(attributes={"amount": "many", "note": "\ud800"}), ModelContext("user", "\ud800", "vip")]
    encoded = CODEC.encode(contexts, now=NOW)
    assert sent(encoded.header) == ["order.id", "order.state", "order.rev", "peer", "sig"]
    assert encoded.dropped == {Problem.UNENCODABLE: 3}


@pytest.mark.parametrize("name", ["Order", "a\r\nx: y", "a,b", "request", "", "_x", "é"])
def test_a_model_whose_name_cannot_travel_is_dropped(name: str) -> None:
    """Names from outside a declaration add neither header lines nor members."""
    encoded = CODEC.encode([ModelContext(name, "1", "s")], now=NOW)
    assert sent(encoded.header) == ["peer", "sig"]
    assert encoded.dropped == {Problem.UNENCODABLE: 1}


@pytest.mark.parametrize("trust", [trust for trust in Trust if not trust.counts])
def test_what_is_not_believed_is_not_signed(trust: Trust) -> None:
    """Egress never turns a claim into a fact."""
    encoded = CODEC.encode([CREATED.but(trust=trust)], now=NOW)
    assert sent(encoded.header) == ["peer", "sig"]
    assert encoded.dropped == {Problem.UNTRUSTED: 1}


@pytest.mark.parametrize("trust", [Trust.LOCAL, Trust.STORE, Trust.VERIFIED])
def test_what_is_believed_is_signed_anew(trust: Trust) -> None:
    """Each hop renews the signature."""
    assert parse(encode(CREATED.but(trust=trust))).contexts["order"] == received(CREATED)


def test_one_context_of_a_model_is_sent() -> None:
    """The first; the second is counted."""
    encoded = CODEC.encode([CREATED, CREATED.but(entity_id="o-2")], now=NOW)
    assert parse(encoded.header).contexts["order"].entity_id == "o-1"
    assert encoded.dropped == {Problem.DUPLICATE: 1}


# The budget


def test_attributes_are_dropped_first_by_rising_priority() -> None:
    """Whole members go; the id stays longest."""
    long = CREATED.but(attributes={"note": "n" * 1000, "tags": ("t" * 900,), "amount": 1, "weight": 1.5})
    encoded = CODEC.encode([long, ModelContext("user", "u" * 400, "s")], now=NOW)
    names = sent(encoded.header)
    assert "order.note" not in names
    assert {"order.amount", "order.weight", "order.tags", "user.id", "order.id"} <= set(names)
    assert encoded.dropped == {Problem.BUDGET: 1}


def test_members_are_dropped_in_the_order_of_their_kind() -> None:
    """With nine models there is room for every id and state, and some revisions."""
    contexts = [ModelContext(f"m{n}", "1", "s", revision=3) for n in range(9)]
    encoded = CODEC.encode(contexts, now=NOW)
    kinds = [name.rpartition(".")[2] for name in sent(encoded.header)]
    assert (kinds.count("id"), kinds.count("state"), kinds.count("rev")) == (9, 9, 4)
    assert encoded.dropped == {Problem.BUDGET: 5}


def test_a_tentative_context_is_never_sent_without_its_mark() -> None:
    """Without it the next service would take a change that may fail for a fact."""
    contexts = [ModelContext(f"m{n}", "1", "s", revision=3, tentative=True) for n in range(30)]
    parsed = parse(CODEC.encode(contexts, now=NOW).header)
    assert parsed.contexts
    assert all(context.tentative for context in parsed.contexts.values())


@given(st.lists(st.builds(ModelContext, st.from_regex(r"[a-z]{5,9}", fullmatch=True), st.text(), texts), max_size=30))
def test_the_budget_holds(contexts: list[ModelContext]) -> None:
    """Whatever there is to say, ours is 24 members and 2 KiB at most, and verifies."""
    header = CODEC.encode(contexts, now=NOW).header
    assert header.count(",") < MAX_MEMBERS
    assert len(header) <= MAX_OUR_BYTES
    assert parse(header).trust is Trust.VERIFIED


# Others' members


def test_others_members_pass_untouched_behind_ours() -> None:
    """Byte for byte, with properties, odd spacing and broken escapes."""
    others = ("a=1;p=2; q", "b = %zz", "nonsense", "k=+")
    header = encode(CREATED, others=others)
    assert header.endswith("," + ",".join(others))
    assert parse(header).others == others
    assert parse(header).trust is Trust.VERIFIED


def test_others_members_can_add_no_header() -> None:
    """Line breaks and other controls end with the member that holds them."""
    encoded = CODEC.encode([], now=NOW, others=["a=1", "b=2\r\nset-cookie: x", "c=\x00", "d=é"])
    assert encoded.header.endswith(",a=1")
    assert encoded.dropped == {Problem.OTHERS: 3}
    parsed = parse(b"a=1,b=\xff", "c=3\r\nx: y")
    assert parsed.others == ("a=1",)
    assert parsed.problems == (Problem.UNSAFE, Problem.UNSAFE)


def test_members_of_ours_are_never_sent_on_as_others() -> None:
    """Nor when their name is hidden in percent-encoding, which OpenTelemetry would undo."""
    far = "%20" * 90 + "mcp_sdk.user.id=u"
    hidden = ["mcp_sdk.a.b=g", " mcp_sdk.sig=x", "mcp%5Fsdk.user.id=u", "mcp_sdk%2Eorder.id=o", "+mcp_sdk.a=b", far]
    assert foreign([",".join(hidden), "a=1"]) == ("a=1",)
    assert parse(*hidden, "a=1").others == ("a=1",)
    assert sent(encode(others=tuple(hidden))) == ["peer", "sig"]


def test_a_header_may_hold_more_than_64_small_members() -> None:
    """The limits of the recommendation are what must at least be sent on; only the size is kept."""
    others = tuple(f"k{n}=v" for n in range(300))
    assert parse(encode(CREATED, others=others)).others == others


def test_others_are_dropped_whole_where_the_header_would_pass_8192_bytes() -> None:
    """From the end, and counted."""
    others = [f"k{n}=" + "v" * 1000 for n in range(10)]
    encoded = CODEC.encode([CREATED], now=NOW, others=others)
    assert len(encoded.header) <= 8192
    assert list(parse(encoded.header).others) == others[:7]
    assert encoded.dropped == {Problem.OTHERS: 3}


def test_of_a_huge_header_the_first_members_are_read() -> None:
    """Whole ones, and so far that reading stays cheap."""
    parsed = parse(encode(CREATED), ",".join(f"k{n}=" + "v" * 100 for n in range(1000)))
    assert parsed.contexts["order"] == received(CREATED)
    assert 100 < len(parsed.others) < 200
    assert {len(raw.partition("=")[2]) for raw in parsed.others} == {100}
    assert parsed.problems == (Problem.OVERSIZE,)


def test_merging_keeps_the_first_of_a_key() -> None:
    """What the application set last wins over what came in, and duplicates within one source stay."""
    assert merged(["a=2", "a=3"], ["a=1", "b=1;p"]) == ("a=2", "a=3", "b=1;p")


def test_without_members_of_ours_there_is_nothing_to_believe() -> None:
    """Only others' members are read."""
    assert parse("a=1, b=2") == Parsed(others=("a=1", "b=2"))
    assert parse() == Parsed()


# What is believed


def test_a_header_says_what_was_encoded() -> None:
    """Across all lines of a request."""
    header = encode(CREATED, ModelContext("user", "u 1", attributes={"tier": "gold"}))
    lines = header.split(",")
    parsed = parse(",".join(lines[:3]), "", ",".join(lines[3:]).encode())
    assert parsed.contexts["order"] == received(CREATED)
    assert parsed.contexts["user"].entity_id == "u 1"
    assert (parsed.trust, parsed.peer, parsed.problems) == (Trust.VERIFIED, "order-service", ())


@given(orders)
@example(ModelContext("order", " \u2003", ' "', {"note": '"', "tags": ("", "\\", ",")}))
def test_any_context_survives_the_wire(context: ModelContext) -> None:
    """Whatever Unicode it holds, as long as it fits."""
    encoded = CODEC.encode([context], now=NOW)
    if not encoded.dropped:
        empty = context == ModelContext("order")
        assert parse(encoded.header).contexts == ({} if empty else {"order": received(context)})


@given(orders)
@example(ModelContext("order", " o 1 ", "created", {"note": "a+b c"}))
def test_any_context_survives_an_opentelemetry_client(context: ModelContext) -> None:
    """Its propagator decodes and encodes anew, writes spaces as plus signs and trims values; the signature holds."""
    encoded = CODEC.encode([context], now=NOW, others=("a=b%20c",))
    propagator = W3CBaggagePropagator()
    carrier: dict[str, str] = {}
    propagator.inject(carrier, propagator.extract({"baggage": encoded.header}, Context()))
    assert parse(carrier["baggage"]) == parse(encoded.header)._replace(others=parse(carrier["baggage"]).others)


def test_order_of_members_and_white_space_mean_nothing() -> None:
    """Intermediaries may change both."""
    members = encode(CREATED).split(",")
    assert parse(" , \t".join(reversed(members))).contexts["order"] == received(CREATED)
    spaced = [raw.replace("=", " = ") + " ; seen=1" for raw in members]
    assert parse(",".join(spaced)).contexts["order"] == received(CREATED)


LONG = encode(CREATED.but(attributes={"note": "Zoë + co", "tags": ("a,", "b")}), ModelContext("user", "u-1"))
TRUE = parse(LONG)


@given(st.integers(0, len(LONG) - 1), st.integers(0, 255))
def test_no_changed_byte_verifies_as_something_else(position: int, byte: int) -> None:
    """A signature holds for what was signed, or not at all."""
    changed = LONG[:position].encode() + bytes([byte]) + LONG[position + 1 :].encode()
    parsed = parse(changed)
    assert parsed.trust is not Trust.VERIFIED or (parsed.contexts, parsed.peer) == (TRUE.contexts, TRUE.peer)


@given(
    st.lists(
        st.sampled_from([*LONG.split(","), "mcp_sdk.user.tier=gold", "mcp_sdk.a.b.c=1", "mcp_sdk.order.id"]),
        max_size=14,
    )
)
def test_no_selection_of_members_verifies_as_something_else(members: list[str]) -> None:
    """Nothing can be added, left out or doubled."""
    parsed = parse(",".join(members))
    assert parsed.trust is not Trust.VERIFIED or sorted(members) == sorted(LONG.split(","))


@given(st.lists(st.text() | st.binary(), max_size=4))
def test_reading_never_raises(lines: list[str | bytes]) -> None:
    """Whatever comes, what is sent on can break no header."""
    parsed = parse(*lines)
    assert parsed.trust is Trust.UNSIGNED
    assert all(raw.isascii() and not set(raw) & set("\r\n\x00,") for raw in parsed.others)


OURS = st.from_regex(r"mcp_sdk\.[a-z.%+;= ]{0,12}=[\x20-\x7e]{0,12}", fullmatch=True)


@given(st.lists(OURS | st.sampled_from(LONG.split(",")), max_size=8))
def test_reading_never_raises_for_what_looks_like_ours(members: list[str]) -> None:
    """Nor for any mode of ingress, and what is read can be encoded again."""
    parsed = parse(*members)
    for mode in ("mesh", "edge", "open"):
        CODEC.encode(admit(parsed, mode).contexts.values(), now=NOW, others=parsed.others)


@pytest.mark.parametrize(
    ("other", "problem"),
    [
        (codec(ring=Keyring((SigningKey("k2", b"k" * 32),))), Problem.UNKNOWN_KEY),
        (codec(ring=Keyring((SigningKey("k1", b"x" * 32),))), Problem.BAD_SIGNATURE),
        (codec(identity=replace(ME, mesh="other")), Problem.BAD_SIGNATURE),
        (codec(identity=replace(ME, namespace="other")), Problem.BAD_SIGNATURE),
        (codec(identity=replace(ME, environment="other")), Problem.BAD_SIGNATURE),
    ],
)
def test_strangers_are_not_believed(other: Codec, problem: Problem) -> None:
    """Other keys, another mesh, namespace or environment."""
    parsed = parse(other.encode([CREATED], now=NOW).header)
    assert (parsed.trust, parsed.problems) == (Trust.BAD_SIGNATURE, (problem,))
    assert parsed.contexts["order"].trust is Trust.BAD_SIGNATURE


def test_a_rotated_ring_still_reads_what_the_old_key_signed() -> None:
    """And the old ring does not read the new key's."""
    newer = codec(ring=RING.rotated(SigningKey("k2", b"n" * 32)))
    assert parse(encode(CREATED), by=newer).trust is Trust.VERIFIED
    assert parse(newer.encode([CREATED], now=NOW).header).trust is Trust.BAD_SIGNATURE


@pytest.mark.parametrize(
    ("later", "trust"),
    [(0, Trust.VERIFIED), (65.5, Trust.VERIFIED), (66.5, Trust.EXPIRED), (1e6, Trust.EXPIRED), (-200, Trust.VERIFIED)],
)
def test_a_signature_is_believed_for_a_minute(later: float, trust: Trust) -> None:
    """And five seconds more, for clocks differ."""
    assert parse(encode(CREATED), now=NOW + later).trust is trust


def test_an_expiry_far_ahead_is_not_believed() -> None:
    """A leaked key cannot be used to make something that lasts."""
    eternal = codec(ttl=86_400).encode([CREATED], now=NOW).header
    assert parse(eternal).problems == (Problem.EXPIRY_TOO_FAR,)
    assert parse(eternal).trust is Trust.BAD_SIGNATURE


def test_what_is_past_its_time_leaves_references() -> None:
    """The ids were signed, so they may be looked up; their states may have changed."""
    header = encode(CREATED, ModelContext("user", state="s"))
    assert parse(header, now=NOW + 100).references == (EntityRef("order", "o-1"),)
    assert parse(header).references == ()
    assert parse(header.replace("o-1", "o-2"), now=NOW + 100).references == ()


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("mcp_sdk.order.id=a,mcp_sdk.order.id=b", Problem.DUPLICATE),
        ("mcp_sdk.order.id", Problem.MALFORMED),
        ("mcp_sdk.order.id=%zz", Problem.MALFORMED),
        ("mcp_sdk.order.id=%ff", Problem.MALFORMED),
        ("mcp_sdk.order.id=a b", Problem.MALFORMED),
        ('mcp_sdk.order.id="a"', Problem.MALFORMED),
        ("mcp%5fsdk.order.id=a", Problem.MALFORMED),
        ("mcp_sdk.order.id=a\x7f", Problem.UNSAFE),
        (b"mcp_sdk.order.id=\xe9", Problem.UNSAFE),
        ("mcp_sdk.order.rev=7+", Problem.MALFORMED_VALUE),
        ("mcp_sdk.order.rev=x", Problem.MALFORMED_VALUE),
        ("mcp_sdk.order.rev=1234567890123456789", Problem.MALFORMED_VALUE),
        ("mcp_sdk.order.amount=1.5", Problem.MALFORMED_VALUE),
        ("mcp_sdk.sig=x", Problem.MALFORMED_SIGNATURE),
        ("mcp_sdk.order=x", Problem.UNKNOWN_NAME),
        ("mcp_sdk.=x", Problem.UNKNOWN_NAME),
        ("mcp_sdk.a.b.c=x", Problem.UNKNOWN_NAME),
        ("mcp_sdk.principal.id=root", Problem.UNKNOWN_NAME),
        ("mcp_sdk.request.id=1", Problem.UNKNOWN_NAME),
        ("mcp_sdk.order.note=" + "x" * 9000, Problem.OVERSIZE),
        ("a=" + "x" * 70_000, Problem.OVERSIZE),
        (",".join(f"mcp_sdk.m{n}.id=1" for n in range(65)), Problem.OVERSIZE),
        ("mcp_sdk.order.id=a", Problem.UNSIGNED),
    ],
)
def test_what_is_wrong_is_named(line: str | bytes, problem: Problem) -> None:
    """In a word that can be a metric label, and the request goes on."""
    parsed = parse(line)
    assert problem in parsed.problems
    assert not parsed.trust.counts


def test_a_value_that_does_not_fit_here_costs_only_itself() -> None:
    """A service of another version may declare an attribute otherwise; the rest stays believable."""
    strings = {name: Attribute(name) for name in ("amount", "note", "card")}
    other = codec(models={"order": BusinessModel("order", attributes=strings)})
    header = other.encode([CREATED.but(attributes={"amount": "lots", "note": "n", "card": "4111"})], now=NOW).header
    parsed = parse(header)
    assert parsed.contexts["order"] == received(CREATED.but(attributes={"note": "n"}))
    assert parsed.problems == (Problem.MALFORMED_VALUE,)


def test_names_of_a_later_version_are_signed_along_and_ignored() -> None:
    """So that services of two versions understand each other."""
    pairs = ["mcp_sdk.order.id=o-1", "mcp_sdk.order.line.sku=x"]
    parsed = parse(",".join([*pairs, f"mcp_sdk.sig={CODEC.signer.sign(pairs, int(NOW) + 60)}"]))
    assert (parsed.trust, parsed.problems) == (Trust.VERIFIED, (Problem.UNKNOWN_NAME,))


def test_models_declared_later_count_from_then_on() -> None:
    """A codec looks at the living declarations."""
    models: dict[str, BusinessModel] = {}
    young = codec(models=models)
    assert parse(encode(CREATED), by=young).contexts["order"].attributes == {"amount": "150000"}
    models["order"] = ORDER
    assert parse(encode(CREATED), by=young).contexts["order"].attributes == {"amount": 150_000}


# What was verified a moment ago


def test_a_header_that_comes_again_is_read_alike() -> None:
    """Within seconds it is not verified again, and says the same."""
    by, header = codec(), encode(CREATED)
    first = parse(header, by=by)
    parse(header, by=by)
    assert parse(header, by=by) == first == parse(header, by=codec())
    assert parse(header, now=NOW + 60, by=by) == first


def test_a_header_that_comes_again_is_believed_no_longer() -> None:
    """Its time is looked at whenever it comes."""
    by = codec(ttl=1, skew=0)
    header = by.encode([CREATED], now=NOW).header
    for _ in range(3):
        assert parse(header, by=by).trust is Trust.VERIFIED
    assert parse(header, now=NOW + 3, by=by).trust is Trust.EXPIRED
    assert parse(header, now=NOW - 400, by=by).problems == (Problem.EXPIRY_TOO_FAR,)


def test_a_header_that_comes_again_is_read_by_the_living_declarations() -> None:
    """A model that was declared again in between counts, also after another header was read by it."""
    models = {"order": ORDER}
    by, header = codec(models=models), encode(CREATED)
    for _ in range(3):
        assert parse(header, by=by).contexts["order"].attributes == {"amount": 150_000}
    models["order"] = BusinessModel("order", attributes={"amount": "string"})
    parse(encode(CREATED.but(entity_id="o-2")), by=by)
    assert parse(header, by=by).contexts["order"].attributes == {"amount": "150000"}


def test_no_more_is_kept_than_a_few_verified_headers_for_a_few_seconds() -> None:
    """What nobody signed fills nothing, many headers do not add up, and what is old goes with the next request."""
    by = codec()
    for number in range(2 * MAX_LATELY):
        header = encode(CREATED.but(entity_id=f"o-{number}"))
        parse(header, by=by)
        parse(header.replace("created", "paid"), by=by)
        parse(f"mcp_sdk.order.id=o-{number}", by=by)
        assert len(by._lately._held) <= MAX_LATELY
        assert all("paid" not in text and "sig" in text for text in by._lately._held)
    parse("mcp_sdk.order.id=o-1", now=NOW + LATELY, by=by)
    assert not by._lately._held


# Ingress


def test_mesh_admits_what_is_verified() -> None:
    """With the peer that sent it."""
    admitted = admit(parse(encode(CREATED)), "mesh")
    assert (admitted.contexts["order"], admitted.peer, admitted.peer_verified) == (
        received(CREATED),
        "order-service",
        True,
    )


@pytest.mark.parametrize(
    ("parsed", "dropped"),
    [
        (parse("mcp_sdk.order.id=o-1,mcp_sdk.peer=x"), Problem.UNSIGNED),
        (parse(encode(CREATED).replace("o-1", "o-2")), Problem.BAD_SIGNATURE),
        (parse(encode(CREATED), now=NOW + 100), Problem.EXPIRED),
    ],
)
def test_mesh_takes_what_is_not_verified_as_absent(parsed: Parsed, dropped: Problem) -> None:
    """No context, no peer; only what has expired leaves its reference."""
    admitted = admit(parsed, "mesh")
    assert (dict(admitted.contexts), admitted.peer, admitted.peer_verified) == ({}, "", False)
    assert admitted.dropped == {dropped: 1}
    assert admitted.references == ((EntityRef("order", "o-1"),) if dropped is Problem.EXPIRED else ())


@pytest.mark.parametrize("later", [0, 100])
def test_edge_strips_everything_of_ours(later: float) -> None:
    """Even what is signed: outside the mesh nobody has a key, so it was copied."""
    admitted = admit(parse(encode(CREATED), now=NOW + later), "edge")
    assert (dict(admitted.contexts), admitted.references, admitted.peer) == ({}, (), "")
    assert admitted.dropped == {Problem.EDGE: 1}


def test_open_admits_what_is_unsigned_marked_so() -> None:
    """For development; egress still does not sign it."""
    admitted = admit(parse("mcp_sdk.order.id=o-1,mcp_sdk.peer=x"), "open")
    assert admitted.contexts["order"].trust is Trust.UNSIGNED
    assert (admitted.peer, admitted.peer_verified) == ("x", False)
    assert CODEC.encode(admitted.contexts.values(), now=NOW).dropped == {Problem.UNTRUSTED: 1}


@pytest.mark.parametrize("mode", ["mesh", "edge", "open"])
def test_nothing_admits_nothing(mode: str) -> None:
    """The usual case of a request from outside."""
    admitted: Any = admit(parse("a=1"), mode)
    assert (dict(admitted.contexts), admitted.references, admitted.peer, dict(admitted.dropped)) == ({}, (), "", {})
