"""The pytest plug-in, as a user's suite meets it."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest_plugins = ["pytester"]

SHOP = '''
import pytest
from mcp_sdk import BusinessModel, DecisionRequest, EntityRef, context_observer, model_context

POLICY = """
apiVersion: mesh.mcp-sdk.dev/v1alpha1
kind: TrafficPolicy
metadata: {{name: t, namespace: default}}
spec:
  target: {{service: shop}}
  rules:
  - {{name: paid, when: "order.state == 'paid'", route: {{version: {version}}}}}
  default: {{version: v1}}
"""

@pytest.fixture
def mesh_models():
    return [BusinessModel("order", states=("created", "paid"))]

@model_context(model="order", state="paid")
def pay(order_id):
    """Pay."""
'''


@pytest.fixture
def suite(pytester: pytest.Pytester) -> pytest.Pytester:
    """A user's project with a little shop in its conftest."""
    pytester.makepyprojecttoml("[tool.pytest.ini_options]\nfilterwarnings = ['error']\n")
    pytester.makepyfile(shop=SHOP.replace("{{", "{{").replace("}}", "}}"))
    pytester.makeconftest("from shop import mesh_models")
    return pytester


def passes(suite: pytest.Pytester, text: str, *arguments: str, count: int = 1) -> None:
    """Run a test file in a process of its own, and expect it to pass."""
    suite.makepyfile(test_shop=text)
    suite.runpytest_subprocess("-p", "no:cacheprovider", *arguments).assert_outcomes(passed=count)


def test_transitions_are_captured(suite: pytest.Pytester) -> None:
    """Ids and time can be foretold, and what the store made of a transition can be waited for."""
    passes(
        suite,
        """
        from shop import *

        def test_pay(mesh):
            mesh.clock.tick(60)
            pay("o-1")
            (event,) = mesh.captured.transitions
            assert (event.event_id, event.to_state) == ("event-1", "paid")
            assert event.observed_at.isoformat() == "2026-01-01T00:01:00+00:00"
            assert mesh.captured.states("order", "o-1") == ["paid"]
            assert mesh.captured.states("order", "o-2") == mesh.captured.aborted == []
            mesh.settle()
            assert mesh.state("order", "o-1") == "paid"
            assert mesh.known(EntityRef("order", "o-1")).revision == 1
        """,
    )


def test_tests_do_not_see_each_other(suite: pytest.Pytester) -> None:
    """Each test has a mesh of its own, and begins with nothing at hand."""
    passes(
        suite,
        """
        import pytest
        from shop import *

        @pytest.mark.parametrize("number", [1, 2])
        def test_alone(mesh, number):
            assert mesh.contexts() == {}
            assert mesh.captured.transitions == []
            assert mesh.state("order", "o-1") is None
            mesh.bind("order", "o-1")
            pay("o-1")
            assert mesh.captured.transitions[0].event_id == "event-1"
            mesh.captured.clear()
            assert mesh.captured.transitions == []
        """,
        count=2,
    )


def test_policies_change_within_a_test(suite: pytest.Pytester) -> None:
    """Decisions follow the policies that were given last, and are captured."""
    pytest.importorskip("cel_expr_python")
    passes(
        suite,
        """
        from shop import *

        def decide(mesh):
            pay("o-1")
            request = DecisionRequest("shop", contexts={"order": mesh.known(EntityRef("order", "o-1"))})
            return str(mesh.decide(request).route.subset)

        def test_versions(mesh):
            mesh.policies(POLICY.format(version="v2"))
            assert decide(mesh) == "version=v2"
            mesh.policies(POLICY.format(version="v3"))
            assert decide(mesh) == "version=v3"
            first, second = mesh.captured.decisions
            assert first.decision.reasons[0].rule == second.decision.reasons[0].rule == "paid"
        """,
    )


def test_wrong_policies_leave_those_in_force(suite: pytest.Pytester) -> None:
    """``PolicyError`` says what is wrong, and nothing changes."""
    pytest.importorskip("cel_expr_python")
    passes(
        suite,
        """
        import pytest
        from mcp_sdk import PolicyError
        from shop import *

        def test_wrong(mesh):
            mesh.policies(POLICY.format(version="v2"))
            with pytest.raises(PolicyError, match="<test>:"):
                mesh.policies(POLICY.replace("order.state", "order.sate").format(version="v3"))
            assert mesh.control_plane.snapshot().revision == 1
        """,
    )


def test_pending_transitions_are_captured(suite: pytest.Pytester) -> None:
    """A test whose transaction never commits sees them all the same."""
    passes(
        suite,
        """
        from shop import *

        class Open:
            def defer(self, subjects, settle):
                return True

        def test_pending(mesh):
            mesh.on_commit(Open())
            pay("o-1")
            assert mesh.captured.states("order") == ["paid"]
            assert mesh.captured.pending == mesh.captured.transitions
            assert mesh.state("order", "o-1") is None
        """,
    )


def test_settings_are_given_by_a_fixture(suite: pytest.Pytester) -> None:
    """``mesh_settings`` holds what ``Config`` has fields for; environment variables do not count."""
    suite.makeconftest(
        "import os, pytest\nos.environ['MCP_SDK_MODE'] = 'nonsense'\n"
        "@pytest.fixture\ndef mesh_settings():\n    return {'mode': 'observe', 'service': 'till'}\n"
    )
    passes(
        suite,
        """
        def test_settings(mesh):
            assert (mesh.config.mode, mesh.identity.service) == ("observe", "till")
        """,
    )


def test_decorators_of_other_services_do_no_harm(suite: pytest.Pytester) -> None:
    """A suite imports services whose models a test's mesh does not know."""
    passes(
        suite,
        """
        from mcp_sdk import model_context

        @model_context(model="parcel", state="sent")
        def send(parcel_id): ...

        def test_other(mesh):
            send("p-1")
            assert mesh.captured.transitions == []
        """,
    )


def test_the_plugin_imports_nothing_heavy() -> None:
    """A run in which no test asks for a mesh loads neither policies nor stores nor native code."""
    code = (
        "import sys, mcp_sdk.testing.plugin\n"
        "heavy = ('policy', 'control', 'stores', 'testing.recording')\n"
        "print([name for name in heavy if f'mcp_sdk.{name}' in sys.modules], 'cel_expr_python' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[] False"
