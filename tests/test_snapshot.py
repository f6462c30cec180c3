"""Snapshots and their parts."""

from __future__ import annotations

from mcp_sdk import BusinessModel
from mcp_sdk.snapshot import Part, Snapshot, canonical

ORDER = BusinessModel(
    "order", states=("created", "paid"), transitions={"created": ["paid"]}, attributes={"amount": "decimal"}
)


def test_parts_are_hashed_apart() -> None:
    """Changing the policies leaves the digest of the models as it was."""
    before = Snapshot(1, 1, {"order": ORDER}, {"format": 1})
    after = Snapshot(1, 2, {"order": ORDER}, {"format": 1, "policies": [1]})
    first, second = before.manifest()["parts"], after.manifest()["parts"]
    assert first["models"] == second["models"]
    assert first["policies"] != second["policies"]


def test_a_digest_does_not_depend_on_the_order_of_keys() -> None:
    """Canonical JSON sorts keys, so equal content has an equal digest."""
    assert Part("x", {"a": 1, "b": "ü"}).digest == Part("x", {"b": "ü", "a": 1}).digest
    assert canonical({"b": 1, "a": 2}) == b'{"a":2,"b":1}'


def test_a_later_epoch_comes_after_every_revision() -> None:
    """Snapshots are ordered by epoch, then by revision."""
    assert Snapshot(2, 1).order > Snapshot(1, 999).order


def test_a_model_survives_json() -> None:
    """A model read from its plain form equals itself."""
    assert BusinessModel.from_dict(ORDER.to_dict()) == ORDER


def test_policies_name_the_operations_of_a_service() -> None:
    """Those of its own namespace, and none where there are no policies."""
    names = [("shop", "orders", "GET /a"), ("shop", "stock", "GET /b"), ("bank", "orders", "GET /c")]
    policies = [{"namespace": space, "service": name, "operations": [text]} for space, name, text in names]
    assert Snapshot(programs={"policies": policies}).operations("shop", "orders") == ("GET /a",)
    assert Snapshot().operations("shop", "orders") == ()
