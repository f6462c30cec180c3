"""The entity that tests speak of."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import Enum


class OrderState(Enum):
    """The states of the orders that tests speak of."""

    CREATED = "created"
    PAID = "paid"
    SHIPPED = "shipped"
    FAILED = "failed"


@dataclass
class Order:
    """The entity that tests speak of; ``card`` is sensitive."""

    number: str
    status: OrderState | str = OrderState.CREATED
    amount: Decimal = Decimal("12.50")
    card: str = "4111"
