"""What the shop's policies are to bring about, each expectation against what was observed.

Nothing here looks at the policies: expectations are the same for any files that are given. Counts come from how many
customers were sent, so an answer that is missing fails as one that is wrong.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import xxhash

from mcp_sdk_demo.crowd import STOCK_LEFT, Load
from mcp_sdk_demo.evidence import Evidence
from mcp_sdk_demo.shopper import Answer
from mcp_sdk_demo.statistics import bounds
from mcp_sdk_demo.topology import TOPOLOGY

__all__ = ["Check", "checks"]

BURST, REFILL = 30, 0.5
DENIED = "urn:mcp-sdk:problem:denied"
FOREIGN = "this is not an order of yours"
REGION = "we do not ship to your region"
_CHALLENGE = re.compile(r'(error|acr_values|max_age)="([^"]*)"')


@dataclass(frozen=True)
class Check:
    """One expectation; ``expected`` and ``observed`` are plain JSON."""

    name: str
    expected: Any
    observed: Any
    passed: bool

    def to_dict(self) -> dict[str, Any]:
        """Give the check as plain JSON."""
        return asdict(self)


def checks(seen: Evidence, load: Load) -> list[Check]:
    """Judge one run."""
    return [check for judge in _JUDGES for check in judge(seen, load)]


Judged = Iterator[Check]


def _equal(name: str, expected: Any, observed: Any) -> Check:
    return Check(name, expected, observed, expected == observed)


def _tally(answers: Iterable[Answer]) -> dict[str, int]:
    return dict(sorted(Counter(f"{answer.status} {answer.instance}".strip() for answer in answers).items()))


def _served(name: str, answers: Iterable[Answer], expected: Mapping[str, int]) -> Check:
    return _equal(name, {key: count for key, count in sorted(expected.items()) if count}, _tally(answers))


def _why(answers: Iterable[Answer]) -> list[str]:
    return sorted({f"{answer.body.get('type')}: {answer.body.get('detail')}" for answer in answers})


def _orders(seen: Evidence, load: Load) -> Judged:
    new, paid = ("place", "show"), ("show-paid",)
    many = load.standard
    yield _served(
        "orders/created: new orders up to 1000 are served by v2",
        seen.of("standard", steps=new),
        {"201 order-v2": many, "200 order-v2": many},
    )
    yield _served("orders/default: paid orders go to v1", seen.of("standard", steps=paid), {"200 order-v1": many})
    declined = seen.of("declined", steps=("show-declined",))
    yield _served("orders/default: declined orders go to v1", declined, {"200 order-v1": load.declined})
    for tier in ("vip", "platinum"):
        yield _served(
            f"orders/vip: {tier} users are served by class performance, whatever they order",
            seen.of(tier, steps=(*new, *paid)),
            {"201 order-performance": load.vip, "200 order-performance": 2 * load.vip},
        )


def _split_orders(seen: Evidence, load: Load) -> Judged:
    answers = seen.of("large", steps=("place", "show", "show-paid"))
    expected = {"201": load.large, "200": load.large + len(range(0, load.large, 3))}
    observed = dict(Counter(str(answer.status) for answer in answers))
    yield _equal("orders/large: orders over 1000 are served", expected, observed)
    places = [(answer.order, answer.instance) for answer in answers]
    yield from _split("orders/large", places, _Split("order-", "large-orders", 80, load.large))


def _recommendations(seen: Evidence, load: Load) -> Judged:
    for step in ("before", "after"):
        yield _served(
            f"recommendation/default: v1 alone {step} the sale",
            seen.of("audience", steps=(step,)),
            {"200 recommendation-v1": load.before},
        )
    answers = seen.of("audience", steps=("during", "again"))
    observed = dict(Counter(str(answer.status) for answer in answers))
    yield _equal("recommendation/promotion: everybody is served", {"200": load.audience + load.returning}, observed)
    places = [(answer.customer, answer.instance) for answer in answers]
    yield from _split("recommendation/promotion", places, _Split("recommendation-", "promotion", 30, load.audience))


@dataclass(frozen=True)
class _Split:
    """``percent`` of ``count`` ids go to v2; ``salt`` is part of the published hash."""

    prefix: str
    salt: str
    percent: int
    count: int

    def place(self, entity: str) -> str:
        """Give the instance by the published algorithm: XXH64 of ``salt:id`` modulo 100, v2 listed first."""
        bucket = xxhash.xxh64_intdigest(f"{self.salt}:{entity}".encode()) % 100
        return self.prefix + ("v2" if bucket < self.percent else "v1")


def _split(name: str, places: list[tuple[str, str]], split: _Split) -> Judged:
    instances: dict[str, set[str]] = {}
    for entity, instance in places:
        instances.setdefault(entity, set()).add(instance)
    hits = sum(f"{split.prefix}v2" in found for found in instances.values())
    low, high = bounds(split.count, split.percent / 100)
    whole = len(instances) == split.count
    yield Check(
        f"{name}: {split.percent} % go to v2", f"{low} to {high} of {split.count}", hits, whole and low <= hits <= high
    )
    moved = sorted(entity for entity, found in instances.items() if len(found) > 1)
    yield _equal(f"{name}: none moves to another version", [], moved[:5])
    wrong = sorted(entity for entity, instance in places if instance != split.place(entity))
    yield Check(f"{name}: each is where the published hash puts it", 0, len(wrong), whole and not wrong)


def _payments(seen: Evidence, load: Load) -> Judged:
    steps = seen.of("risky", steps=("pay",))
    yield _served("payments/risky: a risky payment is not taken on a password alone", steps, {"401": load.risky})
    asked = sorted({tuple(_CHALLENGE.findall(answer.headers.get("www-authenticate", ""))) for answer in steps})
    challenge = [(("error", "insufficient_user_authentication"), ("acr_values", "urn:shop:mfa"), ("max_age", "300"))]
    yield _equal("payments/risky: the challenge asks for a second factor (RFC 9470)", _plain(challenge), _plain(asked))
    again = seen.of("risky", steps=("pay-mfa",))
    yield _served("payments/risky: with a second factor it is taken", again, {"200 payment": load.risky})
    ordinary = seen.of("standard", "vip", "platinum", "large", "declined", steps=("pay",))
    count = load.standard + 2 * load.vip + len(range(0, load.large, 3)) + load.declined
    yield _served("payments/default: an ordinary payment needs no second factor", ordinary, {"200 payment": count})
    yield _equal("payments/risky: an unsigned claim of low risk is not believed", 401, seen.outside["forged risk"])


def _plain(challenges: Iterable[Iterable[tuple[str, str]]]) -> list[dict[str, str]]:
    return [dict(challenge) for challenge in challenges]


def _regions(seen: Evidence, load: Load) -> Judged:
    refused, smugglers = seen.of("refused"), seen.of("smuggler")
    yield _served("regions/not-served: nothing is sold to AQ and BV", refused, {"403": 2 * load.refused})
    yield _equal("regions/not-served: the refusal says why", [f"{DENIED}: {REGION}"], _why(refused))
    yield _served("regions/not-served: a forged country smuggles nobody in", smugglers, {"403": load.forged})
    away = seen.of("traveller")
    yield _served("regions/default: an order can be looked at from there", away, {"201 order-v2": 4, "200 order-v2": 4})
    at_the_port = seen.outside["forged country"]
    yield Check("regions/not-served: an unsigned country is not believed", "not 403", at_the_port, at_the_port != 403)


def _customers(seen: Evidence, load: Load) -> Judged:
    nobody = seen.of("anonymous", steps=("place", "show", "pay"))
    yield _served("customers/default: who has not signed in orders, sees and pays nothing", nobody, {"403": 3})
    anyone = seen.of("anonymous", steps=("recommend",))
    yield _served("customers: anybody may look at recommendations", anyone, {"200 recommendation-v1": 1})
    yield _served("customers/signed-in: a counterfeit token is nobody's", seen.of("impostor"), {"403": load.forged})
    expected = {"201 order-v2": load.forged, "200 order-v2": load.forged}
    yield _served("edge: forged baggage and headers change nothing", seen.of("forger"), expected)


def _owners(seen: Evidence, load: Load) -> Judged:
    nosy = seen.of("nosy")
    yield _served("own-orders/not-yours: nobody sees or pays another's order", nosy, {"403": 4 * load.nosy})
    yield _equal("own-orders/not-yours: the refusal says why", [f"{DENIED}: {FOREIGN}"], _why(nosy))


def _promotions(seen: Evidence, load: Load) -> Judged:
    del load
    for group, status in (("standard", 403), ("support", 403), ("merchandiser", 200)):
        observed = [answer.status for answer in seen.of(group, steps=("switch-active",))]
        rule = "merchandiser" if status == 200 else "default"
        yield _equal(f"promotions/{rule}: {group} begins a sale", [status], observed)
    yield _equal("promotion: ended in the store", "ended", seen.promotion.state if seen.promotion else None)


def _limits(seen: Evidence, load: Load) -> Judged:
    answers = seen.of("burst")
    taken = sum(answer.status == 201 for answer in answers)
    throttled = [answer for answer in answers if answer.status == 429]
    most = min(load.burst, BURST + int(seen.burst_seconds * REFILL) + 1)
    exact = len(answers) == load.burst == taken + len(throttled)
    yield Check(
        "checkout/burst: a burst gets 30 orders in", f"{BURST} to {most}", taken, exact and BURST <= taken <= most
    )
    told = sum(int(answer.headers.get("retry-after", "0")) > 0 for answer in throttled)
    yield _equal("checkout/burst: the rest is told when to come back", load.burst - taken, told)
    quotas = sorted({answer.headers.get("ratelimit-policy", "").partition(";")[2] for answer in throttled})
    yield _equal("checkout/burst: it names 30 in a minute", [f"q={BURST};w=60"], quotas)
    yield _served("checkout: looking is not throttled", seen.of("browsing"), {"200 recommendation-v1": load.browsing})


def _api(seen: Evidence, load: Load) -> Judged:
    late = load.sold_out - STOCK_LEFT
    yield _served(
        "inventory: the last copies are sold once", seen.of("sold-out"), {"201 order-v2": STOCK_LEFT, "409": late}
    )
    yield _equal("health: every service may tell how it is", len(TOPOLOGY), seen.outside["well"])
    stock = None if seen.stock is None else {"state": seen.stock.state, "left": seen.stock.attributes.get("left")}
    yield _equal("@context_observer: the shelf is empty in the store", {"state": "sold_out", "left": 0}, stock)
    taken = sum(answer.status == 201 for answer in seen.of("burst"))
    paid = len(range(0, load.large, 3))
    expected = {
        "created": load.large - paid + load.forged + load.nosy + 4 + STOCK_LEFT + taken,
        "declined": load.declined,
        "failed": late + 2 * load.refused + load.forged,
        "shipped": load.standard + paid + 2 * load.vip + load.risky,
    }
    yield _equal(
        "store: every order is in the state that its answers told", expected, dict(sorted(seen.funnel().items()))
    )


def _log(seen: Evidence, load: Load) -> Judged:
    del load
    governed = seen.governed()
    silent = sorted(f"{policy}/{rule}" for policy, rule in seen.rules if not governed[policy, rule])
    yield _equal("decision log: every rule in force has spoken", [], silent)
    told = {f"{policy}/{rule}": count for (policy, rule), count in sorted(seen.routed().items())}
    logged = {f"{policy}/{rule}": governed[policy, rule] for policy, rule in sorted(seen.routed())}
    yield _equal("decision log: it holds as many routed calls as answers came", told, logged)


_JUDGES: tuple[Callable[[Evidence, Load], Judged], ...] = (
    _orders,
    _split_orders,
    _recommendations,
    _payments,
    _regions,
    _customers,
    _owners,
    _promotions,
    _limits,
    _api,
    _log,
)
