"""The walk over an application's routes."""

import re

import pytest

from mcp_sdk import Mesh, context_observer
from mcp_sdk.middleware import WSGIMeshMiddleware, declare_routes, path_template, regex_template

PARAMETER = re.compile(r"<(?:(?P<converter>\w+):)?(?P<name>\w+)>")


def view():
    """Be a view that is captured, and routed bare."""


@pytest.fixture
def lost():
    """Give a view that was captured above its route's decorator."""

    def lost():
        """Be a view."""

    lost.captured = context_observer(lost)
    return lost


def texts(mesh):
    """Give the operations that a mesh knows."""
    return [pattern.text for pattern in mesh.operations]


def test_routes_are_declared_once_and_what_is_no_operation_is_left_out():
    """A segment of two parameters names no entity; walking again declares nothing new."""
    mesh = Mesh()
    mesh.declare_operations(["GET /a"])
    for _ in range(2):
        declare_routes(mesh, [("GET /a", view), ("GET /{a}-{b}", view), ("* /orders/{order}", None)])
    assert texts(mesh) == ["GET /a", "* /orders/{order}"]


def test_a_capture_above_the_route_is_warned_of_once(lost):
    """However many routes a view has; the captured one has nothing to say."""
    with pytest.warns(UserWarning, match="lost is captured above the decorator of its route") as said:
        declare_routes(Mesh(), [("GET /a", lost), ("PUT /a", lost), ("GET /b", lost.captured)])
    assert len(said) == 1


@pytest.mark.parametrize(
    ("route", "path"),
    [
        ("", "/"),
        ("/", "/"),
        ("/orders/<order>/", "/orders/{order}/"),
        ("/<int:order_id>/lines", "/{order_id}/lines"),
        ("/files/<path:name>/raw", "/files/**"),
        ("/<a>-<b>", "/{a}-{b}"),
    ],
)
def test_templates(route, path):
    """Converters are no part of an operation, and one that takes slashes stands for the rest."""
    assert path_template(route, PARAMETER) == path


def test_which_converters_take_slashes_is_the_framework_s_to_say():
    """Where none is written it is the default one."""
    assert path_template("/<a>/b", PARAMETER, rest=["default"]) == "/**"
    assert path_template("/<path:a>/b", PARAMETER, rest=[]) == "/{a}/b"


@pytest.mark.parametrize(
    ("pattern", "whole", "part"),
    [
        (r"^old/(?P<order>\d+)/?$", True, "old/{order}"),
        (r"^v1\.0\Z", True, "v1.0"),
        (r"^(?P<order>[0-9a-f]{2,8})/", False, "{order}/"),
        ("", False, ""),
        ("", True, None),
        (r"^loose/(?P<order>\d+)", True, None),
        (r"loose/(?P<order>\d+)$", True, None),
        (r"^loose/(?:a|b)$", True, None),
        (r"^a+$", True, None),
    ],
)
def test_regular_expressions(pattern, whole, part):
    """One that is anchored, plain text and named groups is a path; any other is none."""
    assert regex_template(pattern, whole=whole) == part


def test_the_middleware_walks_before_its_first_request(mesh):
    """Routes that were registered after it are there; later requests do not walk again."""
    routes, walks = [], []
    app = WSGIMeshMiddleware(lambda environ, start: [], mesh, routes=lambda: walks.append(1) or routes)
    routes.append(("GET /orders/{order}", view))
    for _ in range(2):
        app({"REQUEST_METHOD": "GET", "PATH_INFO": "/orders/o-1"}, lambda *_: None)
    assert (texts(mesh), walks) == (["GET /orders/{order}"], [1])


def test_a_warning_that_is_made_an_error_comes_out_of_the_request(mesh, lost):
    """So that a test that makes warnings errors fails."""
    app = WSGIMeshMiddleware(lambda environ, start: [], mesh, routes=lambda: [("GET /", lost)])
    for _ in range(2):
        with pytest.raises(UserWarning, match="lost is captured above"):
            app({"REQUEST_METHOD": "GET", "PATH_INFO": "/"}, lambda *_: None)
