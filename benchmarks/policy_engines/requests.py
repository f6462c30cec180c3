"""Calls as the project's own requests, which ours and the floor read."""

from __future__ import annotations

from policy_engines.rules import Call

from mcp_sdk import DecisionRequest, ModelContext

__all__ = ["request_of"]


def request_of(call: Call) -> DecisionRequest:
    """Give a new request with a new context."""
    attributes = {"sku": call.sku, "amount": call.amount, "note": call.note}
    order = ModelContext("order", f"o-{call.sku}", call.state, attributes, 7)
    return DecisionRequest(call.service, "POST /orders", contexts={"order": order})
