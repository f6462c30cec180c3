"""``WSGIMeshMiddleware`` in front of WSGI applications."""

import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from wsgiref.util import FileWrapper, setup_testing_defaults
from wsgiref.validate import validator

import pytest
from scripted import signed

from mcp_sdk import Decision, Denied, ModelContext, Permit, Refused
from mcp_sdk import current as work
from mcp_sdk.decisions import Rolled
from mcp_sdk.middleware import WSGIMeshMiddleware, decision

DENY = Decision(Denied("not here"))
ALLOW = Decision(Permit())


def served(app, **environ):
    """Serve one request; gives the status, the headers and the whole body."""
    base = {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/",
        "REMOTE_ADDR": "10.0.0.9",
        "QUERY_STRING": "",
    } | environ
    setup_testing_defaults(base)
    said = []
    body = validator(app)(
        base, lambda status, headers, exc_info=None: said.append((status, headers)) or (lambda _: None)
    )
    try:
        whole = b"".join(body)
    finally:
        body.close()
    return said[0][0], dict(said[0][1]), whole


class App:
    """An application that remembers what it saw."""

    def __init__(self, body=(b"ok",), raises=None):
        self.body, self.raises, self.environs = body, raises, []

    def __call__(self, environ, start_response):
        self.environs.append(environ)
        if self.raises is not None:
            raise self.raises
        start_response("200 OK", [("Content-Type", "text/plain")])
        return self.body(environ) if callable(self.body) else list(self.body)


def test_while_a_change_is_rolled_out_the_plane_hears_how_calls_end(mesh, plane):
    """A status of 500 is an error, and so is an exception; a refusal of ours is the end of no call."""
    plane.rule = lambda _: Decision(rolled=Rolled("r-1", 0, "candidate", None))

    def failing(_environ, start):
        start("503 Service Unavailable", [("Content-Type", "text/plain")])
        return iter([b"away"])

    served(WSGIMeshMiddleware(App(), mesh))
    served(WSGIMeshMiddleware(failing, mesh))
    with pytest.raises(ZeroDivisionError):
        served(WSGIMeshMiddleware(App(raises=ZeroDivisionError()), mesh))
    plane.rule = lambda _: Decision(Denied("not here"), rolled=Rolled("r-1", 0, "candidate", None))
    served(WSGIMeshMiddleware(App(), mesh))
    assert plane.ends == [False, True, True]


def test_a_permitted_request_reaches_the_application_with_its_decision(mesh):
    """The decision is in the environ, and the helper finds it."""
    app = App()
    assert served(WSGIMeshMiddleware(app, mesh))[0] == "200 OK"
    assert decision(app.environs[0]).permitted


def test_a_denied_request_never_reaches_the_application(mesh, plane):
    """The caller gets problem details."""
    plane.rule = lambda _: DENY
    app = App()
    status, headers, body = served(WSGIMeshMiddleware(app, mesh))
    assert (status, app.environs) == ("403 Forbidden", [])
    assert headers["content-type"] == "application/problem+json"
    assert json.loads(body)["detail"] == "not here"


@pytest.mark.parametrize(("method", "path"), [("GET", "//admin//o-1"), ("GET", "admin/o-1"), ("head", "/admin/o-1")])
def test_a_request_is_decided_on_as_a_lenient_router_reads_it(mesh, plane, method, path):
    """No way of writing a path or method that Werkzeug or Django serves is another operation, or names no entity."""
    plane.rule = lambda request: DENY if request.operation == "GET /admin/o-1" and request.references else ALLOW
    mesh.declare_operations(["GET /admin/{order}"])
    environ = {"REQUEST_METHOD": method, "PATH_INFO": path, "SCRIPT_NAME": "", "QUERY_STRING": ""}
    setup_testing_defaults(environ)
    said = []
    WSGIMeshMiddleware(App(), mesh)(environ, lambda status, _: said.append(status))
    assert said == ["403 Forbidden"]


@pytest.mark.parametrize("scheme", ["memory:", "sqlite:///mesh.db"])
def test_a_process_that_ends_without_closing_sends_what_is_queued_and_says_nothing(tmp_path, scheme):
    """The interpreter's exit flushes a mesh that a request started, leaves no traceback, and does not hang."""
    program = """
import sys
from wsgiref.util import setup_testing_defaults
from mcp_sdk import BusinessModel, Mesh
from mcp_sdk.middleware import WSGIMeshMiddleware

mesh = Mesh(service="s", control_plane=sys.argv[1], models=[BusinessModel("order", states=("created", "paid"))])
environ = {}
setup_testing_defaults(environ)
WSGIMeshMiddleware(lambda environ, start: start("200 OK", []) or [], mesh)(environ, lambda *_: None)
mesh.publish("order", "o-1", state="created")
"""
    command = [sys.executable, "-W", "error", "-c", program, scheme]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    if scheme != "memory:":
        with closing(sqlite3.connect(tmp_path / "mesh.db")) as file:
            assert file.execute("SELECT entity_id, state FROM entities").fetchall() == [("o-1", "created")]


def test_a_refusal_of_head_has_no_body(mesh, plane):
    """HEAD is answered with the headers alone."""
    plane.rule = lambda _: DENY
    assert served(WSGIMeshMiddleware(App(), mesh), REQUEST_METHOD="HEAD")[2] == b""


def test_a_streamed_body_keeps_the_record(mesh, peer):
    """Each step of a generator, and its end, runs with the request's contexts."""
    seen = []

    def stream(_):
        try:
            for part in (b"a", b"b"):
                seen.append(work.record().contexts["order"].entity_id)
                yield part
        finally:
            seen.append(work.record().contexts["order"].state)

    header = signed(peer, ModelContext("order", "o-1", "created", {}, 7))
    assert served(WSGIMeshMiddleware(App(stream), mesh), HTTP_BAGGAGE=header)[2] == b"ab"
    assert seen == ["o-1", "o-1", "created"]
    assert work.record() is None


def test_closing_early_closes_the_application_s_body_in_its_context(mesh):
    """A client that goes away ends the generator with the record at hand, and the request is counted out once."""
    seen = []

    def stream(_):
        try:
            yield b"a"
            yield b"b"
        finally:
            seen.append(work.record() is not None)

    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/"}
    body = WSGIMeshMiddleware(App(stream), mesh)(environ, lambda *_: None)
    assert next(iter(body)) == b"a"
    body.close()
    body.close()
    assert seen == [True]


def test_lists_and_files_are_given_to_the_server_as_they_are(mesh, tmp_path):
    """A server sees a list of one part, or a file to send by itself."""
    path = tmp_path / "x"
    path.write_bytes(b"file")
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/", "wsgi.file_wrapper": FileWrapper}
    assert WSGIMeshMiddleware(App(), mesh)(dict(environ), lambda *_: None) == [b"ok"]
    with path.open("rb") as file:
        body = WSGIMeshMiddleware(App(lambda _: FileWrapper(file)), mesh)(dict(environ), lambda *_: None)
        assert isinstance(body, FileWrapper)


def test_an_uncaught_refusal_of_a_method_becomes_its_response(mesh):
    """``Refused`` that leaves the application is answered like the middleware's own refusal."""
    assert served(WSGIMeshMiddleware(App(raises=Refused(DENY)), mesh))[0] == "403 Forbidden"


def test_an_application_error_stays_the_application_s(mesh):
    """What is not ours goes on to the server."""
    with pytest.raises(KeyError):
        served(WSGIMeshMiddleware(App(raises=KeyError("x")), mesh))


def test_off_does_nothing(make_mesh, plane):
    """In mode ``off`` nobody is asked."""
    served(WSGIMeshMiddleware(App(), make_mesh(mode="off")))
    assert plane.requests == []


def test_paths_of_any_bytes_are_read(mesh, plane):
    """A path is UTF-8 in Latin-1's clothes; bytes that are neither do no harm."""
    served(WSGIMeshMiddleware(App(), mesh), PATH_INFO="/caf\xc3\xa9/\xff")
    assert plane.requests[0].request.path == "/café/\ufffd"
    assert plane.requests[0].operation == "GET /caf%C3%A9/%EF%BF%BD"
