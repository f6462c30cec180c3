"""Errors that help."""

from __future__ import annotations

import pytest

from mcp_sdk import exceptions
from mcp_sdk.decisions import Decision, Denied, Reason, Refused
from mcp_sdk.exceptions import (
    Finding,
    InvalidTransition,
    MissingExtra,
    NoEndpoint,
    PolicyError,
    RevisionConflict,
    UnknownModel,
    UnknownState,
    did_you_mean,
)


def test_the_tree_in_the_docstring_is_the_family() -> None:
    """Every error that is exported stands in the tree at the top of the module, and the tree has no others."""
    drawn = {
        line.replace("│", " ").replace("├──", " ").replace("└──", " ").split()[0]
        for line in (exceptions.__doc__ or "").splitlines()
        if "──" in line
    } | {"MeshError"}
    family = {name for name in exceptions.__all__ if isinstance(getattr(exceptions, name), type)} - {"Finding"} | {
        "Refused"
    }
    assert drawn == family


@pytest.mark.parametrize(
    ("value", "valid", "text"),
    [
        ("ordr", ["order", "user"], " Did you mean 'order'? Known: order, user."),
        ("zzz", ["order"], " Known: order."),
        ("zzz", [], ""),
    ],
)
def test_the_nearest_valid_value_is_named(value: str, valid: list[str], text: str) -> None:
    """A suggestion names the nearest value when one is near, and what is known."""
    assert did_you_mean(value, valid) == text


def test_a_long_list_of_valid_values_is_cut() -> None:
    """Twelve valid values are shown at the most."""
    assert did_you_mean("x", [f"name{i}" for i in range(50)]).endswith("….")


def test_unknown_names_say_where() -> None:
    """An unknown model or state is reported with its place, the value and the nearest."""
    assert str(UnknownModel("ordr", ["order"], where="shop.py:3:1")).startswith("shop.py:3:1: unknown model 'ordr'.")
    assert "Did you mean 'created'?" in str(UnknownState("order", "creatd", ["created"], where="shop.py:3:1"))


def test_a_forbidden_move_says_what_is_allowed() -> None:
    """An invalid transition names the entity, both states and the moves that are allowed."""
    error = InvalidTransition("order", "o-1", "created", "shipped", {"paid", "cancelled"})
    assert str(error) == "order o-1 cannot go from 'created' to 'shipped'; 'created' allows: cancelled, paid."


def test_a_missing_extra_says_what_to_install() -> None:
    """The message is a command to paste."""
    assert 'pip install "mcp-sdk[policy]"' in str(MissingExtra("xxhash", extra="policy", purpose="a split route"))


def test_ten_thousand_findings_print_as_a_readable_report() -> None:
    """Twenty findings are shown and the rest counted; all of them are kept."""
    error = PolicyError(Finding("MCP0001", f"wrong {i}", "a.yaml", i, 1) for i in range(10_000))
    assert len(str(error).splitlines()) == 21
    assert str(error).endswith("… and 9980 more")
    assert len(error.findings) == 10_000


def test_no_endpoint_says_what_is_registered() -> None:
    """A missing subset names what is there and how to start one."""
    text = str(NoEndpoint("order-service", "version=v3", ["version=v1"]))
    assert "version=v3" in text
    assert "Registered: version=v1" in text


def test_a_conflict_names_both_revisions() -> None:
    """A lost compare-and-set tells both revisions."""
    assert "expected revision 3, found 4" in str(RevisionConflict("policies", expected=3, actual=4))


def test_a_refusal_carries_its_decision() -> None:
    """``Refused`` says in a sentence which rule refused."""
    reason = Reason("geo", "AccessPolicy", rule="region", effect="deny", clause="request.geo.country == 'XX'")
    refused = Refused(Decision(Denied(), reasons=(reason,)))
    assert str(refused) == "deny: deny by rule 'region' of 'geo' because request.geo.country == 'XX'"
