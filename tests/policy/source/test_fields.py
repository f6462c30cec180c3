"""Names that a policy file leaves out, where what stands in for them is no name."""

from __future__ import annotations

import pytest

from mcp_sdk.exceptions import PolicyError
from mcp_sdk.policy import compile_policies

SPEC = "spec: {target: {service: s}, default: permit}\n"


@pytest.mark.parametrize(
    ("metadata", "place"), [("{name: p}", "p.yaml:2:11"), ("{name: p, namespace: null}", "p.yaml:2:32")]
)
def test_a_default_namespace_that_is_no_name_is_a_finding(metadata: str, place: str) -> None:
    """It is told at the metadata, which does not say another, with the value and what fits."""
    with pytest.raises(PolicyError) as caught:
        compile_policies({"p.yaml": f"kind: AccessPolicy\nmetadata: {metadata}\n{SPEC}"}, {}, namespace="a b")
    (finding,) = caught.value.findings
    assert str(finding).startswith(place)
    assert finding.message == (
        "metadata: 'namespace' is not written, and the default is 'a b'; "
        "a name is letters, digits and . _ - / inside, at most 200"
    )


def test_a_namespace_that_is_written_does_without_the_default() -> None:
    """Of policies that all say theirs nobody asks what stands in."""
    text = f"kind: AccessPolicy\nmetadata: {{name: p, namespace: shop}}\n{SPEC}"
    (plain,) = compile_policies({"p.yaml": text}, {}, namespace="a b")["policies"]
    assert plain["namespace"] == "shop"
