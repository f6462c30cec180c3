"""Services, endpoints, subsets."""

from __future__ import annotations

import pytest

from mcp_sdk.exceptions import ConfigurationError
from mcp_sdk.services import Endpoint, Service, Subset

FAST = Endpoint("orders", "http://127.0.0.1:1", version="v1", labels={"class": "performance"})
PLAIN = Endpoint("orders", "http://127.0.0.1:2", version="v1")
NEXT = Endpoint("orders", "http://127.0.0.1:3", version="v2")
SERVICE = Service("orders", (FAST, PLAIN, NEXT))


@pytest.mark.parametrize(
    ("subset", "endpoints"),
    [
        (Subset(), (FAST, PLAIN, NEXT)),
        (Subset("v1"), (FAST, PLAIN)),
        (Subset(labels={"class": "performance"}), (FAST,)),
        (Subset("v2", {"class": "performance"}), ()),
    ],
)
def test_a_subset_holds_the_endpoints_that_match_version_and_labels(
    subset: Subset, endpoints: tuple[Endpoint, ...]
) -> None:
    """A subset is a version, labels, both, or everything."""
    assert SERVICE.subset(subset) == endpoints


def test_a_negative_weight_is_refused() -> None:
    """A weight below zero is an error that names the endpoint."""
    with pytest.raises(ConfigurationError, match="http://x: weight is -1"):
        Endpoint("orders", "http://x", weight=-1)


def test_an_endpoint_survives_json() -> None:
    """An endpoint read from its plain form equals itself."""
    assert Endpoint.from_dict(FAST.to_dict()) == FAST
