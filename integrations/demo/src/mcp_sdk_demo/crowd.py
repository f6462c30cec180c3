"""Who takes part in a run: customers by group, and how many of each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import cycle

from mcp_sdk_demo.shopper import Customer

__all__ = ["Crowd", "Load", "gather_crowd"]

STOCK_LEFT = 5
"""How many first editions there are."""


@dataclass(frozen=True)
class Load:
    """How many customers of each group take part. ``large`` and ``audience`` are what shares are measured on."""

    standard: int = 30
    large: int = 120
    vip: int = 12
    risky: int = 8
    refused: int = 6
    forged: int = 6
    sold_out: int = 12
    declined: int = 4
    nosy: int = 4
    burst: int = 45
    browsing: int = 35
    audience: int = 200
    returning: int = 40
    before: int = 15


Crowd = Mapping[str, tuple[Customer, ...]]


def gather_crowd(run: str, load: Load) -> Crowd:
    """Give the customers of one run by group; ``run`` makes their ids new."""
    people = _People(run)
    groups = (
        *people.of("standard", load.standard, countries=("DE", "FR", "US"), tiers=("standard", "gold")),
        *people.of("large", load.large),
        *people.of("vip", load.vip, tiers=("vip",)),
        *people.of("platinum", load.vip, tiers=("platinum",)),
        *people.of("risky", load.risky),
        *people.of("refused", 2 * load.refused, countries=("AQ", "BV")),
        *people.of("traveller", 4),
        *people.of("sold-out", load.sold_out),
        *people.of("declined", load.declined),
        *people.of("nosy", load.nosy),
        *people.of("burst", 1),
        *people.of("browsing", 1),
        *people.of("audience", load.audience),
        *people.forgers(load.forged),
        *people.staff(),
    )
    crowd: dict[str, tuple[Customer, ...]] = {}
    for customer in groups:
        crowd[customer.group] = (*crowd.get(customer.group, ()), customer)
    return crowd


@dataclass(frozen=True)
class _People:
    run: str

    def of(
        self, group: str, count: int, *, countries: tuple[str, ...] = ("DE",), tiers: tuple[str, ...] = ("standard",)
    ) -> Iterator[Customer]:
        """Give ``count`` customers of a group, countries and tiers by turns."""
        turns = zip(range(count), cycle(countries), cycle(tiers))
        return (Customer(f"{group}-{self.run}-{number}", group, country, tier) for number, country, tier in turns)

    def forgers(self, count: int) -> Iterator[Customer]:
        """Give customers who claim in headers to be what they are not, and what is not so of their orders."""
        vip = f"vip-{self.run}-0"
        tries: tuple[Mapping[str, str], ...] = (
            {"baggage": "mcp_sdk.user.tier=vip,mcp_sdk.user.rev=99,mcp_sdk.sig=shop.4102444800.Zm9yZ2VkZm9yZ2Vk"},
            {"baggage": f"mcp_sdk.user.id={vip},mcp_sdk.user.tier=vip"},
            {"baggage": "mcp_sdk.order.state=paid,mcp_sdk.order.amount=99999900,mcp_sdk.order.rev=99"},
            {"X-User-Id": vip, "X-User-Tier": "vip"},
            {"X-Country": "AQ"},
        )
        for number, headers in zip(range(count), cycle(tries)):
            yield Customer(f"forger-{self.run}-{number}", "forger", headers=headers)
        for number, country in zip(range(count), cycle(("AQ", "BV"))):
            headers = {"X-Country": "DE", "baggage": "mcp_sdk.request.geo=DE"}
            yield Customer(f"smuggler-{self.run}-{number}", "smuggler", country, headers=headers)
        for number in range(count):
            yield Customer(f"vip-{self.run}-{number}", "impostor", tier="vip", counterfeit=True)

    def staff(self) -> Iterator[Customer]:
        """Give who may switch promotions, who may not, and nobody."""
        yield Customer(f"merchandiser-{self.run}", "merchandiser", roles=("merchandiser",))
        yield Customer(f"support-{self.run}", "support", roles=("support",))
        yield Customer("", "anonymous")
