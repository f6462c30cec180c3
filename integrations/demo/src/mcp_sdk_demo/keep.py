"""``--keep``: what to try on a shop that is left running."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from mcp_sdk_demo.accounts import Accounts
from mcp_sdk_demo.shop.business import SALE
from mcp_sdk_demo.shopper import Customer

__all__ = ["VISITORS", "Try", "tries"]

DAY = 86_400
VISITORS = (
    Customer("you", "visitor"),
    Customer("your-vip-self", "visitor", tier="vip"),
    Customer("you-on-ice", "visitor", country="AQ"),
    Customer("merchandiser", "visitor", roles=("merchandiser",)),
)


@dataclass(frozen=True)
class Try:
    """A command line for a shell, and what it shows."""

    shows: str
    command: str


def tries(gateway: str, directory: Path, accounts: Accounts) -> list[Try]:
    """Write the visitors' tokens into ``directory`` and give the command lines that use them."""
    for visitor in VISITORS:
        _header(
            directory / visitor.id, accounts.token(visitor.id, country=visitor.country, roles=visitor.roles, ttl=DAY)
        )
    _header(directory / "you-twice-checked", accounts.token("you", mfa=True, ttl=DAY))
    return list(_tries(gateway, directory))


def _header(path: Path, token: str) -> None:
    path.touch(mode=0o600)
    path.write_text(f"Authorization: Bearer {token}\n")


def _tries(gateway: str, directory: Path) -> Iterator[Try]:
    curl = _Curl(gateway, directory)
    yield Try("a new order is served by v2", curl.order("you", "book", "DE"))
    yield Try("a VIP is served by order-performance", curl.order("your-vip-self", "book", "DE"))
    yield Try("four of five large orders go to v2, and stay", curl.order("you", "piano", "DE"))
    yield Try("a region is refused: 403", curl.order("you-on-ice", "book", "AQ"))
    yield Try("a forged country changes nothing: 403", curl.order("you-on-ice", "book", "AQ", "-H", "X-Country: DE"))
    yield Try("nobody may order: 403", curl.order("", "book", "DE"))
    yield Try(
        "a risky order", f"ORDER=$({curl.order('you', 'chair', 'FR')} | grep -o 'o-[0-9a-f]\\{{12\\}}'); echo $ORDER"
    )
    yield Try("paying it needs a second factor: 401", curl.post("you", "/orders/$ORDER/payment", {"card": "visa"}))
    yield Try("with one it is taken: 200", curl.post("you-twice-checked", "/orders/$ORDER/payment", {"card": "visa"}))
    yield Try("and inventory ships it a moment later", curl("you", "/orders/$ORDER"))
    yield Try("a sale begins", curl("merchandiser", f"/promotions/{SALE}?state=active", "-X", "PUT"))
    yield Try("now three in ten users are recommended to by v2", curl("you", "/recommendations"))


@dataclass(frozen=True)
class _Curl:
    """Writes command lines; the shell fills ``$ORDER`` in."""

    gateway: str
    directory: Path

    def __call__(self, who: str, url: str, *options: str) -> str:
        caller = ("-H", f"@{self.directory / who}") if who else ()
        line = shlex.join(["curl", "-si", *caller, *options, f"{self.gateway}{url}"])
        return line.replace("$ORDER", "'\"$ORDER\"'")

    def post(self, who: str, url: str, body: Mapping[str, str], *options: str) -> str:
        return self(who, url, "-H", "Content-Type: application/json", "-d", json.dumps(body), *options)

    def order(self, who: str, sku: str, ship_to: str, *options: str) -> str:
        return self.post(who, "/orders", {"sku": sku, "ship_to": ship_to}, *options)
