"""System checks, settings and the URLconf."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.checks import run_checks
from django.test import override_settings
from django.urls import path
from djangoshop import views
from mcp_sdk_django import conf, mesh
from mcp_sdk_django.routes import operations

from mcp_sdk import Mesh, model_context
from mcp_sdk.middleware import declare_routes

OURS = "mcp_sdk_django.middleware.MeshMiddleware"
USERS = "django.contrib.auth.middleware.AuthenticationMiddleware"


def _found():
    return {message.id: message for message in run_checks() if message.id.startswith("mcp_sdk.")}


def test_a_good_project_has_nothing_to_say():
    """The shop passes its checks."""
    assert _found() == {}


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (7, "MCP_SDK is 7"),
        ("no.such.thing", "cannot be imported"),
        ("djangoshop.settings.MCP_SDK_TYPO", "cannot be imported"),
        ({"SERVIC": "orders"}, "Did you mean 'service'?"),
        ({"MODE": "enforced"}, "Did you mean 'enforce'?"),
    ],
)
def test_a_setting_that_cannot_work_is_E001(value, said):
    """The value, what is wrong with it, and how to write it."""
    with override_settings(MCP_SDK=value):
        message = _found()["mcp_sdk.E001"]
    assert said in message.msg
    assert "MCP_SDK = {" in message.hint


@pytest.mark.parametrize("value", ["no.such.reader", 7])
def test_an_option_that_cannot_work_is_E002(value):
    """A reader that cannot be imported or called is named."""
    with override_settings(MCP_SDK={"PRINCIPAL": value}):
        assert "PRINCIPAL" in _found()["mcp_sdk.E002"].msg


MISSPELT = """
import django
from django.core.management import call_command
from mcp_sdk import model_context
django.setup()
@model_context(model="ordr", state="paid")
def pay(order_id): ...
call_command("check")
"""


def test_a_decorator_of_no_declared_model_is_E003(tmp_path):
    """A typo in a decorator is found by ``manage.py check``, with its place and the nearest name."""
    script = tmp_path / "misspelt.py"
    script.write_text(MISSPELT)
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    done = subprocess.run([sys.executable, script], env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert f"(mcp_sdk.E003) {script}:6:" in done.stderr
    assert "Did you mean 'order'?" in done.stderr


@pytest.mark.parametrize(
    ("middleware", "code"),
    [([USERS], "mcp_sdk.W001"), ([USERS, OURS, OURS], "mcp_sdk.E004"), ([OURS, USERS], "mcp_sdk.E005")],
)
def test_the_middleware_is_there_once_and_after_the_authentication(middleware, code):
    """Each mistake has its code."""
    with override_settings(MIDDLEWARE=["django.contrib.sessions.middleware.SessionMiddleware", *middleware]):
        assert list(_found()) == [code]


def test_the_setting_may_name_a_mesh():
    """A dotted path gives the application's own mesh."""
    with override_settings(MCP_SDK=f"{views.__name__}.mesh"):
        assert conf.setting.mesh() is views.mesh
        assert _found() == {}


@pytest.mark.parametrize("value", [len, "builtins.len"])
def test_options_are_functions_or_their_paths(value):
    """``PRINCIPAL`` may be given as either."""
    with override_settings(MCP_SDK={"PRINCIPAL": value}):
        assert conf.setting.option("PRINCIPAL") is len
        assert _found() == {}


def test_routes_become_operations():
    """Included routes carry their prefix; what is no operation is left out."""
    other = Mesh(service="other")
    declare_routes(other, operations())
    found = {pattern.text for pattern in other.operations}
    assert {"* /orders/{order}/", "* /orders/{order}/payment", "* /files/**", "* /refunds"} <= found
    assert {"* /old/{order}", "* /archive/{order}/v1.0"} <= found
    assert not any("loose" in operation or "-" in operation for operation in found)
    declare_routes(other, operations())
    assert len(other.operations) == len(found)


def test_a_capture_that_no_route_has_is_reported():
    """A URLconf that holds the bare view of a captured one is a warning with its place."""

    def bare(request):
        """Be a view."""

    captured = model_context("order")(bare)
    with pytest.warns(UserWarning, match="bare is captured above the decorator of its route"):
        declare_routes(Mesh(), operations((path("lost", bare), path("found", captured))))


@pytest.mark.parametrize(
    ("route", "template"),
    [("", "/"), ("<int:order>/", "/{order}/"), ("<order>/x", "/{order}/x"), ("f/<path:name>/raw", "/f/**")],
)
def test_templates(route, template):
    """Converters are no part of an operation."""
    assert list(operations((path(route, views.read),))) == [(f"* {template}", views.read)]


def test_the_mesh_of_the_settings_is_lazy():
    """It is the mesh of the settings for whoever imported it before."""
    assert isinstance(mesh, Mesh)
    assert mesh.identity.service == "orders"
