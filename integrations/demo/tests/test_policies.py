from __future__ import annotations

import io
from pathlib import Path
from xml.etree import ElementTree as ET

import mcp_sdk_demo
from mcp_sdk_demo.shop.business import ORDER, PROMOTION, USER

from mcp_sdk.cli import main
from mcp_sdk.cli.sources import read_models, read_policies
from mcp_sdk.policy import check_policies

POLICIES = Path(mcp_sdk_demo.__file__).parent / "policies"


def test_shipped_policies_are_without_finding():
    """The demo's own files compile without an error, a warning or a note."""
    assert check_policies(read_policies([str(POLICIES)]), read_models([str(POLICIES)])) == ()


def test_models_file_says_what_the_services_declare():
    """The models that policies are checked against are those that the services publish."""
    declared = read_models([str(POLICIES)])
    for model in (ORDER, USER, PROMOTION):
        assert declared[model.name].to_dict() == model.to_dict()


def test_shipped_cases_hold_and_leave_nothing_untried(tmp_path):
    """``mcpctl policy test`` passes on the demo's own folder, with every rule, default and condition tried."""
    out, err = io.StringIO(), io.StringIO()
    junit = tmp_path / "junit.xml"
    assert main(["policy", "test", str(POLICIES), "--fail-under", "100", "--junit", str(junit)], out, err) == 0, out
    assert "(100 %) covered" in err.getvalue()
    assert ET.parse(junit).getroot().get("failures") == "0"


def test_the_shop_runs_on_policies_alone():
    """Files of cases in the folder of ``--policies`` are not taken for policies."""
    assert sorted(Path(file).name for file in read_policies([str(POLICIES)])) == [
        "access.yaml",
        "limits.yaml",
        "orders.yaml",
        "recommendation.yaml",
    ]
