"""What customers send to the gateway, and what they see of the answers."""

from __future__ import annotations

from asyncio import Semaphore
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

from mcp_sdk_demo.accounts import Accounts

__all__ = ["Answer", "Customer", "Shopper"]

CONCURRENCY = 24
BROKEN = 0
"""The status of an answer that never came."""
KEPT = ("www-authenticate", "retry-after", "ratelimit-policy")


@dataclass(frozen=True, slots=True)
class Customer:
    """Who orders: ``group`` is a part of the traffic; ``headers`` and a ``counterfeit`` token are what forgers try."""

    id: str
    group: str
    country: str = "DE"
    tier: str = "standard"
    roles: tuple[str, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    counterfeit: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """One response as it was seen from outside. ``instance`` is what the serving process said of itself."""

    group: str
    step: str
    customer: str
    status: int
    instance: str
    routed_by: str
    body: Mapping[str, Any]
    headers: Mapping[str, str]
    order: str = ""


class Shopper:
    """Sends requests for customers and remembers every answer in ``answers``; ``advance`` is told of each."""

    def __init__(self, accounts: Accounts, advance: Callable[[], object]) -> None:
        self._accounts = accounts
        self._forger = Accounts()
        self._advance = advance
        self._gate = Semaphore(CONCURRENCY)
        self.answers: list[Answer] = []
        self.http: httpx.AsyncClient | None = None

    async def place(
        self, who: Customer, sku: str, *, quantity: int = 1, ship_to: str = "", step: str = "place"
    ) -> Answer:
        """Order something."""
        body = {"sku": sku, "quantity": quantity, "ship_to": ship_to or who.country}
        return await self.send(who, step, "POST", "/orders", body)

    async def show(self, who: Customer, order: str, step: str = "show") -> Answer:
        """Look at an order."""
        return await self.send(who, step, "GET", f"/orders/{order}", order=order)

    async def pay(
        self, who: Customer, order: str, *, card: str = "visa", mfa: bool = False, step: str = "pay"
    ) -> Answer:
        """Pay an order."""
        return await self.send(who, step, "POST", f"/orders/{order}/payment", {"card": card}, order=order, mfa=mfa)

    async def recommend(self, who: Customer, promotion: str, step: str = "recommend") -> Answer:
        """Ask for a recommendation while a promotion is planned, on or over."""
        return await self.send(who, step, "GET", f"/recommendations?promotion={promotion}")

    async def switch(self, who: Customer, promotion: str, state: str) -> Answer:
        """Begin or end a promotion."""
        return await self.send(who, f"switch-{state}", "PUT", f"/promotions/{promotion}?state={state}")

    async def send(  # noqa: PLR0913 - a request is these
        self,
        who: Customer,
        step: str,
        method: str,
        url: str,
        body: Mapping[str, Any] | None = None,
        *,
        order: str = "",
        mfa: bool = False,
    ) -> Answer:
        """Send one request with the customer's token and headers."""
        headers = {**self._authorization(who, mfa=mfa), **who.headers}
        assert self.http is not None
        async with self._gate:
            try:
                response = await self.http.request(method, url, json=body, headers=headers)
            except httpx.TransportError as error:
                response = httpx.Response(BROKEN, text=repr(error))
        answer = _answer(who, step, response, order)
        self.answers.append(answer)
        self._advance()
        return answer

    def _authorization(self, who: Customer, *, mfa: bool) -> dict[str, str]:
        if not who.id:
            return {}
        issuer = self._forger if who.counterfeit else self._accounts
        token = issuer.token(who.id, country=who.country, roles=who.roles, mfa=mfa)
        return {"Authorization": f"Bearer {token}"}


def _answer(who: Customer, step: str, response: httpx.Response, order: str) -> Answer:
    try:
        body = response.json()
    except ValueError:
        body = {}
    seen = response.headers
    return Answer(
        who.group,
        step,
        who.id,
        response.status_code,
        seen.get("x-served-by", ""),
        seen.get("x-routed-by", ""),
        body if isinstance(body, dict) else {},
        {name: seen[name] for name in KEPT if name in seen},
        order or str(body.get("number", "") if isinstance(body, dict) else ""),
    )
