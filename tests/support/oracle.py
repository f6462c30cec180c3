"""What cel-cpp says of a condition on an order, as ``conditions`` writes them."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
from conditions import MODELS

from mcp_sdk.decisions import DecisionRequest
from mcp_sdk.policy.cel.environment import Environment

cel = pytest.importorskip("cel_expr_python.cel")
_ENVIRONMENT = Environment(MODELS)
_ANY = cel.Type.Map(cel.Type.STRING, cel.Type.DYN)
_ORACLE = cel.NewEnv(variables=dict.fromkeys(("order", "request", "principal"), _ANY))


@cache
def _checked(when: str) -> bytes:
    return _ENVIRONMENT.check(when, {})


def value_in_cel(when: str, request: DecisionRequest) -> Any:
    """Evaluate a condition; None where it errs. What a call does not hold is absent from the maps."""
    order = request.contexts.get("order")
    data = {
        "order": dict(order.facts) if order is not None else {},
        "request": {"geo": {"country": request.request.geo.country}},
        "principal": {"mfa": request.principal.mfa},
    }
    try:
        value = _ORACLE.deserialize(_checked(when)).eval(data=data)
    except RuntimeError:
        return None
    return None if "ERROR" in str(value.type()) else value.plain_value()
