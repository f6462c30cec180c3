"""What a request says of itself."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_sdk.facts import EnvironHeaders, Query, RawHeaders, operation_of
from mcp_sdk.operations import OperationPattern


def test_header_lines_of_one_name_are_joined():
    """By commas, and cookies by semicolons."""
    headers = RawHeaders([(b"A", b"1"), (b"a", b"2"), (b"cookie", b"x=1"), (b"cookie", b"y=2")])
    assert dict(headers) == {"a": "1, 2", "cookie": "x=1; y=2"}
    assert ("a" in headers, headers.get("b"), len(headers)) == (True, None, 2)


def test_an_environ_s_headers_have_their_names_back():
    """``HTTP_X_Y`` is ``x-y``, the two without a prefix included."""
    headers = EnvironHeaders({"HTTP_X_Y": "1", "CONTENT_TYPE": "a/b", "CONTENT_LENGTH": "", "PATH_INFO": "/"})
    assert dict(headers) == {"x-y": "1", "content-type": "a/b"}


def test_of_a_field_given_twice_the_last_counts():
    """As Starlette's and Django's do."""
    assert dict(Query("a=1&b=&a=2")) == {"a": "2", "b": ""}
    assert dict(Query("&".join("a=1" for _ in range(2000)))) == {}


@pytest.mark.parametrize(
    ("method", "path", "operation"),
    [
        ("GET", "/orders/o-1", "GET /orders/o-1"),
        ("HEAD", "/x", "GET /x"),
        ("OPTIONS", "/x", "OPTIONS /x"),
        ("GET", "/a?b#c", "GET /a%3Fb%23c"),
        ("GET", "/a b/%2F", "GET /a%20b/%252F"),
        ("head", "//admin///users", "GET /admin/users"),
        ("GET", "admin", "GET /admin"),
        ("GET", "", "GET /"),
    ],
)
def test_an_operation_is_written_so_that_it_reads_back(method, path, operation):
    """What the framework routes by is what a pattern's segments see."""
    assert operation_of(method, path) == operation


@given(st.text(min_size=1).filter(lambda text: "/" not in text))
def test_any_segment_reads_back_as_the_framework_sees_it(segment):
    """Encoding and the pattern's decoding are inverse, but for what is no text at all."""
    found = OperationPattern.parse("GET /orders/{order}").match(operation_of("GET", f"/orders/{segment}"))
    expected = segment.encode("utf-8", "replace").decode()
    assert found == {"order": expected}


@given(st.lists(st.tuples(st.binary(), st.binary())), st.text())
def test_nothing_in_a_request_breaks_reading_it(raw, query):
    """Headers are any bytes, a query is any text."""
    dict(RawHeaders(raw))
    dict(Query(query))
