from __future__ import annotations

from pathlib import Path

import mcp_sdk_demo
from mcp_sdk_demo.shop.business import ORDER, PROMOTION, USER

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
