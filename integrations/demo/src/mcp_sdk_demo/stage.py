"""The shop on a stage of its own: a temporary directory with a control plane in one file, keys, and the processes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from secrets import token_hex
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, Self

import httpx

from mcp_sdk import Config, EntityRef, Mesh, ModelContext
from mcp_sdk.snapshot import PolicyRevision
from mcp_sdk_demo.accounts import Accounts
from mcp_sdk_demo.crowd import Load, gather_crowd
from mcp_sdk_demo.evidence import DecisionReader, Evidence, rules_of
from mcp_sdk_demo.fleet import Fleet
from mcp_sdk_demo.plane import place
from mcp_sdk_demo.shop.business import ORDER, PROMOTION, USER
from mcp_sdk_demo.shopper import Customer, Shopper
from mcp_sdk_demo.traffic import Outside, Traffic

__all__ = ["Stage"]

STARTING = 45.0
SETTLING = 20.0
PAGE = 1000


class Stage:
    """Runs the shop while it is open. ``put_in_force`` first, then ``open_shop``, then ``trade`` as often as you like.

    ``plane`` is one of ``plane.PLANES``: where the control plane is. Leaving it stops every process and removes every
    file.
    """

    def __init__(self, plane: str = "sqlite") -> None:
        self._kind = plane
        self._stack = ExitStack()
        self._revision = 0
        self._rules: frozenset[tuple[str, str]] = frozenset()
        self.accounts = Accounts()

    def __enter__(self) -> Self:
        temporary = TemporaryDirectory(prefix="mcp-sdk-shop-", ignore_cleanup_errors=True)
        self.directory = Path(self._stack.enter_context(temporary))
        self.accounts.publish(self.directory / "jwks.json")
        self.plane = self._stack.enter_context(place(self._kind, self.directory))
        config = Config(
            service="customer-care", namespace="shop", control_plane=self.plane.url, token=self.plane.operator
        )
        self._mesh = self._stack.enter_context(Mesh(config, models=(ORDER, USER, PROMOTION)))
        self._decisions = DecisionReader(self.directory)
        environment = {
            **self.plane.environment,
            "MCP_SDK_NAMESPACE": "shop",
            "MCP_SDK_FETCH_TIMEOUT": "5",
            "MCP_SDK_LEASE": "60",
            "SHOP_JWKS": str(self.directory / "jwks.json"),
        }
        self.fleet = Fleet(self.directory, environment)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def put_in_force(self, programs: Mapping[str, Any], sources: Mapping[str, str]) -> None:
        """Replace the policies; services that run follow without a restart."""
        revision = PolicyRevision(self._revision, programs, sources, author="mcpctl demo shop")
        self._revision = self._mesh.control_plane.apply(revision).result(STARTING).revision
        self._rules = rules_of(sources)

    def open_shop(self) -> None:
        """Start every process; raises ``ServiceFailed`` with the log of one that does not come up."""
        self._stack.enter_context(self.fleet)
        self.ready()

    def ready(self) -> None:
        """Wait until every process decides by the policies in force."""
        self.fleet.wait(self._revision, STARTING)

    def welcome(self, customers: Sequence[Customer]) -> None:
        """Tell the mesh what customer care knows of customers."""
        for customer in customers:
            if customer.id and not customer.counterfeit:
                self._mesh.publish("user", customer.id, tier=customer.tier)
        self._mesh.control_plane.flush(SETTLING)

    def trade(self, load: Load, advance: Callable[[], object] = lambda: None) -> Evidence:
        """Send one run of traffic and give what was observed."""
        run = token_hex(3)
        crowd, promotion = gather_crowd(run, load), f"sale-{run}"
        self.welcome([customer for group in crowd.values() for customer in group])
        before = {order.entity_id for order in self._orders()}
        self._decisions.read()
        shopper = Shopper(self.accounts, advance)
        traffic = Traffic(shopper, crowd, load, promotion)
        outside = asyncio.run(self._send(traffic))
        self.fleet.check()
        orders = self._settled(before)
        return Evidence(
            answers=tuple(shopper.answers),
            orders=orders,
            stock=self._entity("stock", "first-edition"),
            promotion=self._entity("promotion", promotion),
            outside=outside,
            decisions=self._decisions.read(),
            rules=self._rules,
            burst_seconds=traffic.burst_seconds,
        )

    async def _send(self, traffic: Traffic) -> dict[str, int]:
        urls = self.fleet.urls
        async with httpx.AsyncClient(base_url=urls["gateway"], timeout=60, trust_env=False) as http:
            outside = Outside(http)
            await outside.deliver(urls["inventory"])
            await traffic.run(http)
            token = self.accounts.token(traffic.crowd["standard"][0].id)
            forged_risk = await outside.forge_risk(urls["payment"], token)
            forged_country = await outside.forge_country(urls["order-v1"])
            well = await outside.ask_how(urls.values())
        return {"forged risk": forged_risk, "forged country": forged_country, "well": well}

    def _settled(self, before: set[str]) -> tuple[ModelContext, ...]:
        """Wait until the store holds what services still had to publish: none is paid and not yet shipped."""
        deadline = time.monotonic() + SETTLING
        last: tuple[ModelContext, ...] = ()
        while time.monotonic() < deadline:
            orders = tuple(order for order in self._orders() if order.entity_id not in before)
            if orders == last and all(order.state != "paid" for order in orders):
                break
            last = orders
            time.sleep(0.2)
        return last

    def _orders(self) -> list[ModelContext]:
        found: list[ModelContext] = []
        after = ""
        while True:
            page = self._mesh.control_plane.list("order", limit=PAGE, after=after).result(SETTLING)
            found += page.contexts
            after = page.after
            if not after:
                return found

    def _entity(self, model: str, entity_id: str) -> ModelContext | None:
        ref = EntityRef(model, entity_id)
        return self._mesh.control_plane.fetch([ref]).result(SETTLING).get(ref)
