"""The traffic of one run: everybody at once before the sale, then the sale, then after it."""

from __future__ import annotations

import time
from asyncio import gather
from collections.abc import Coroutine, Iterable, Iterator
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import httpx

from mcp_sdk_demo.crowd import STOCK_LEFT, Crowd, Load
from mcp_sdk_demo.shopper import Customer, Shopper

__all__ = ["Traffic", "planned"]

Visit = Coroutine[Any, Any, object]
LARGE = ("sofa", "piano")
ORDINARY = ("book", "chair", "desk")
MIXED = ("book", "sofa", "piano")


def planned(load: Load) -> int:
    """Give the number of answers that a run brings when all policies are right."""
    orders = 4 * load.standard + 2 * load.large + 2 * len(range(0, load.large, 3)) + 8 * load.vip + 3 * load.risky
    refused = 2 * load.refused + 2 * load.forged + 2 * load.forged
    others = 8 + load.sold_out + 5 * load.nosy + 3 * load.declined + load.burst + load.browsing + 4
    return orders + refused + others + load.audience + load.returning + 2 * load.before + 4


@dataclass
class Traffic:
    """Sends a crowd's requests through ``shop``; ``burst_seconds`` is how long the burst took."""

    shop: Shopper
    crowd: Crowd
    load: Load
    promotion: str
    burst_seconds: float = 0.0

    async def run(self, http: httpx.AsyncClient) -> None:
        """Send it all to the gateway that ``http`` calls."""
        self.shop.http = http
        began = time.monotonic()
        await gather(*(self.shop.place(who, "book") for who in self.crowd["burst"] for _ in range(self.load.burst)))
        self.burst_seconds = time.monotonic() - began
        await gather(*self._ordinary_day())
        await self._sale()

    def _ordinary_day(self) -> Iterator[Visit]:
        yield from self._each("standard", ORDINARY, self._buy)
        yield from (self._buy_large(*turn) for turn in self._turns("large", LARGE, paying=True))
        yield from self._each("vip", MIXED, self._buy)
        yield from self._each("platinum", MIXED, self._buy)
        yield from self._each("forger", ORDINARY, self._look)
        yield from (self._risk(who) for who in self.crowd["risky"])
        yield from (self.shop.place(who, "book") for who in (*self.crowd["refused"], *self.crowd["smuggler"]))
        yield from (self.shop.place(who, "book") for who in self.crowd["impostor"])
        yield from (self._travel(who) for who in self.crowd["traveller"])
        yield from (self.shop.place(who, "first-edition") for who in self.crowd["sold-out"])
        yield from (self._decline(who) for who in self.crowd["declined"])
        yield from (
            self.shop.recommend(who, self.promotion)
            for who in self.crowd["browsing"]
            for _ in range(self.load.browsing)
        )
        yield from (self._pry(who, of) for who, of in zip(self.crowd["nosy"], self.crowd["declined"], strict=False))
        yield from (self._nobody(who) for who in self.crowd["anonymous"])
        yield from (
            self.shop.recommend(who, self.promotion, "before") for who in self.crowd["audience"][: self.load.before]
        )

    def _each(self, group: str, articles: Iterable[str], visit: Any) -> Iterator[Visit]:
        return (visit(who, sku) for who, sku in zip(self.crowd[group], cycle(articles)))

    def _turns(self, group: str, articles: Iterable[str], *, paying: bool) -> Iterator[tuple[Customer, str, bool]]:
        for number, (who, sku) in enumerate(zip(self.crowd[group], cycle(articles))):
            yield who, sku, paying and number % 3 == 0

    async def _look(self, who: Customer, sku: str) -> str:
        placed = await self.shop.place(who, sku)
        if placed.status == 201:
            await self.shop.show(who, placed.order)
        return placed.order

    async def _buy(self, who: Customer, sku: str) -> None:
        order = await self._look(who, sku)
        if order:
            await self.shop.pay(who, order)
            await self.shop.show(who, order, "show-paid")

    async def _buy_large(self, who: Customer, sku: str, paying: bool) -> None:  # noqa: FBT001
        order = await self._look(who, sku)
        if order and paying:
            await self.shop.pay(who, order)
            await self.shop.show(who, order, "show-paid")

    async def _risk(self, who: Customer) -> None:
        placed = await self.shop.place(who, "chair", ship_to="FR")
        if placed.status == 201:
            await self.shop.pay(who, placed.order)
            await self.shop.pay(who, placed.order, mfa=True, step="pay-mfa")

    async def _travel(self, who: Customer) -> None:
        placed = await self.shop.place(who, "book")
        away = Customer(who.id, who.group, "AQ", who.tier)
        await self.shop.show(away, placed.order)

    async def _decline(self, who: Customer) -> None:
        placed = await self.shop.place(who, "book")
        await self.shop.pay(who, placed.order, card="stolen")
        await self.shop.show(who, placed.order, "show-declined")

    async def _pry(self, who: Customer, neighbour: Customer) -> None:
        placed = await self.shop.place(neighbour, "book", step="place-for-nosy")
        for order in (placed.order or "o-0", "o-0"):
            await self.shop.show(who, order)
            await self.shop.pay(who, order)

    async def _nobody(self, who: Customer) -> None:
        await self.shop.place(who, "book")
        await self.shop.show(who, "o-1")
        await self.shop.pay(who, "o-1")
        await self.shop.recommend(who, self.promotion)

    async def _sale(self) -> None:
        audience, returning = self.crowd["audience"], self.crowd["audience"][: self.load.returning]
        merchandiser = self.crowd["merchandiser"][0]
        for who in (self.crowd["standard"][0], self.crowd["support"][0], merchandiser):
            await self.shop.switch(who, self.promotion, "active")
        await self._recommend(audience, "during")
        await self._recommend(returning, "again")
        await self.shop.switch(merchandiser, self.promotion, "ended")
        await self._recommend(audience[: self.load.before], "after")

    async def _recommend(self, audience: Iterable[Customer], step: str) -> None:
        await gather(*(self.shop.recommend(who, self.promotion, step) for who in audience))


@dataclass(frozen=True)
class Outside:
    """Who goes round the gateway, straight to a service's port."""

    http: httpx.AsyncClient

    async def deliver(self, inventory: str) -> None:
        """Bring a delivery of first editions."""
        response = await self.http.put(f"{inventory}/stock/first-edition", json={"left": STOCK_LEFT})
        response.raise_for_status()

    async def ask_how(self, urls: Iterable[str]) -> int:
        """Ask services how they are, as whoever watches them does; gives the number of those that are well."""
        answers = await gather(*(self.http.get(f"{url}/health") for url in urls))
        return sum(answer.status_code == 200 for answer in answers)

    async def forge_risk(self, payment: str, token: str) -> int:
        """Pay with a risk of one's own making, unsigned; gives the status."""
        headers = {"Authorization": f"Bearer {token}", "baggage": "mcp_sdk.order.id=o-1,mcp_sdk.order.risk=low"}
        response = await self.http.post(f"{payment}/payments", json={"order": "o-1", "card": "visa"}, headers=headers)
        return response.status_code

    async def forge_country(self, orders: str) -> int:
        """Claim a country of another, unsigned; gives the status."""
        body = {"number": "o-1", "sku": "book", "quantity": 1}
        response = await self.http.post(f"{orders}/orders", json=body, headers={"X-Country": "AQ"})
        return response.status_code
