from __future__ import annotations

from mcp_sdk_demo.crowd import Load
from mcp_sdk_demo.evidence import Evidence
from mcp_sdk_demo.expect import checks


def test_silence_passes_next_to_nothing():
    """Where no answer came, no check on answers passes: none is vacuous."""
    nothing = Evidence(
        (),
        (),
        None,
        None,
        {"forged risk": 0, "forged country": 403, "well": 0},
        (),
        frozenset({("orders", "vip")}),
        0.0,
    )
    passed = [check.name for check in checks(nothing, Load()) if check.passed]
    assert passed == [
        "orders/large: none moves to another version",
        "recommendation/promotion: none moves to another version",
        "decision log: it holds as many routed calls as answers came",
    ]
