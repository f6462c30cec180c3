"""``--keep``: what to try on a shop that is left running."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
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
    def curl(who: str, url: str, *options: str) -> str:
        caller = ("-H", f"@{directory / who}") if who else ()
        return shlex.join(["curl", "-si", *caller, *options, f"{gateway}{url}"])

    def order(sku: str, ship_to: str) -> tuple[str, str]:
        return "--json", f'{{"sku": "{sku}", "ship_to": "{ship_to}"}}'

    yield Try("a new order is served by v2", curl("you", "/orders", *order("book", "DE")))
    yield Try("a VIP is served by order-performance", curl("your-vip-self", "/orders", *order("book", "DE")))
    yield Try("four of five large orders go to v2, and stay", curl("you", "/orders", *order("piano", "DE")))
    yield Try("a region is refused: 403", curl("you-on-ice", "/orders", *order("book", "AQ")))
    forged = ("-H", "X-Country: DE", *order("book", "AQ"))
    yield Try("a forged country changes nothing: 403", curl("you-on-ice", "/orders", *forged))
    yield Try("nobody may order: 403", curl("", "/orders", *order("book", "DE")))
    risky = curl("you", "/orders", *order("chair", "FR"))
    number = f"ORDER=$({risky} | grep -o 'o-[0-9a-f]*')"
    yield Try("a risky order", f"{number}; echo $ORDER")
    paying = curl("you", "/orders/$ORDER/payment", "--json", '{"card": "visa"}')
    checked = curl("you-twice-checked", "/orders/$ORDER/payment", "--json", '{"card": "visa"}')
    yield Try("paying it needs a second factor: 401", _expanding(paying))
    yield Try("with one it is taken: 200", _expanding(checked))
    yield Try("and inventory has shipped it", _expanding(curl("you", "/orders/$ORDER")))
    yield Try("the sale begins", curl("merchandiser", f"/promotions/{SALE}?state=active", "-X", "PUT"))
    yield Try("three in ten are recommended to by v2", curl("your-vip-self", "/recommendations"))


def _expanding(command: str) -> str:
    """Let the shell fill ``$ORDER`` in."""
    return command.replace("'", '"', 0) if "'" not in command else command.replace("$ORDER", "'\"$ORDER\"'")
