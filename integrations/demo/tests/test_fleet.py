from __future__ import annotations

import pytest
from mcp_sdk_demo.fleet import Fleet, ServiceFailed
from mcp_sdk_demo.topology import Process


def test_a_service_that_does_not_start_is_told_with_its_log(tmp_path):
    """The error names the instance and shows the end of its log; no process is left."""
    broken = Process("broken", "broken", "no_such_module")
    with pytest.raises(ServiceFailed, match=r"(?s)broken ended with status 1.*No module named.*no_such_module"):  # noqa: SIM117
        with Fleet(tmp_path, {"SHOP_JWKS": "none"}, [broken]) as fleet:
            fleet.wait(1, 30)
    assert fleet.pids == {}


def test_settings_of_the_users_mesh_do_not_reach_the_shop(tmp_path, monkeypatch):
    """``MCP_SDK_*`` and ``OTEL_*`` variables of whoever runs the demo change nothing in it."""
    monkeypatch.setenv("MCP_SDK_MODE", "off")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "mine")
    environment = Fleet(tmp_path, {"MCP_SDK_NAMESPACE": "shop"}).environment
    assert {name for name in environment if name.startswith(("MCP_SDK_", "OTEL_"))} == {"MCP_SDK_NAMESPACE"}
