"""``RequestMiddleware``, under a framework of a few lines."""

import asyncio
import gc

import pytest

from mcp_sdk import Decision, Denied, Permit, Refused, current
from mcp_sdk.decisions import Rolled
from mcp_sdk.middleware import RequestMiddleware, decision, read_environ

DENY = Decision(Denied("not here"))


class Request:
    """A request of the framework."""

    def __init__(self, path="/"):
        self.environ = {"REQUEST_METHOD": "GET", "PATH_INFO": path}


class Response:
    """A response of the framework, whose body may be steps."""

    def __init__(self, body, status=200):
        self.body, self.status, self.headers = body, status, {}
        self.status_code = status


class Middleware(RequestMiddleware):
    """The adapter; ``ended`` counts the requests that are over."""

    ended = 0

    def __init__(self, mesh, **options):
        super().__init__(mesh, **options)
        finish = self.enforcer.finish
        self.enforcer.finish = lambda outcome, **how: (setattr(self, "ended", self.ended + 1), finish(outcome, **how))

    def arrival(self, request):
        return read_environ(request.environ)

    def answer(self, response):
        return Response(response.body, response.status)

    def passed(self, response, outcome):
        response.headers.update(outcome.headers)
        streamed = not isinstance(response.body, (bytes, str))
        if streamed:
            response.body = self.stream(response.body, outcome)
        return streamed


@pytest.fixture(params=["sync", "async"])
def serve(request, make_mesh):
    """Serve a request with a handler, synchronously and on a loop; gives the response, and the middleware it passed."""

    def served(handle, **settings):
        middleware = Middleware(make_mesh(**settings))
        if request.param == "sync":
            return middleware.serve(Request(), handle), middleware

        async def ahandle(request):
            return handle(request)

        return asyncio.run(middleware.aserve(Request(), ahandle)), middleware

    return served


def test_a_request_goes_on_with_its_decision_and_its_record(serve):
    """Both are there inside, and neither is afterwards."""
    response, middleware = serve(lambda request: Response(f"{decision(request).verdict.name} {current.decision()}"))
    assert response.body.startswith("permit Decision(")
    assert (current.record(), current.decision(), middleware.ended) == (None, None, 1)


def test_while_a_change_is_rolled_out_the_plane_hears_how_calls_end(serve, plane):
    """A status of 500 is an error, and so is an exception."""
    plane.rule = lambda _: Decision(rolled=Rolled("r-1", 0, "candidate", None))
    for status in (200, 404, 500):
        serve(lambda _, status=status: Response("ok", status))
    with pytest.raises(ZeroDivisionError):
        serve(lambda _: 1 / 0)
    streamed, _ = serve(lambda _: Response(iter([b"away"]), 503))
    streamed.body.close()
    assert plane.ends == [False, False, True, True, True]


def test_a_refusal_is_answered_without_the_handler(serve, plane):
    """In mode ``observe`` it goes on, and in mode ``off`` nothing is asked."""
    plane.rule = lambda _: DENY
    response, middleware = serve(lambda _: Response("ok"))
    assert (response.status, middleware.ended) == (403, 1)
    assert serve(lambda _: Response("ok"), mode="observe")[0].body == "ok"
    response, middleware = serve(lambda _: Response("ok"), mode="off")
    assert (response.body, middleware.ended) == ("ok", 0)


def test_what_is_refused_behind_it_is_answered(serve):
    """``Refused`` that comes out of the handler becomes its response."""

    def handle(request):
        raise Refused(DENY)

    response, middleware = serve(handle)
    assert (response.status, b"not here" in response.body, middleware.ended) == (403, True, 1)


def test_an_error_stays_the_handler_s(serve):
    """It is passed on, and nothing is left behind."""
    with pytest.raises(ZeroDivisionError):
        serve(lambda _: 1 / 0)
    assert current.record() is None


def test_every_step_of_a_stream_has_the_record(serve):
    """The request is over when its stream is closed, once."""

    def steps():
        for _ in range(2):
            yield current.decision().verdict.name

    response, middleware = serve(lambda _: Response(steps()))
    assert (list(response.body), current.record(), middleware.ended) == (["permit"] * 2, None, 0)
    response.body.close()
    response.body.close()
    assert middleware.ended == 1


def test_every_step_of_an_asynchronous_stream_has_the_record(serve):
    """However slowly it is read."""

    async def steps():
        for _ in range(2):
            await asyncio.sleep(0)
            yield current.decision().verdict.name

    async def read(body):
        return [step async for step in body]

    response, middleware = serve(lambda _: Response(steps()))
    assert (asyncio.run(read(response.body)), current.record(), middleware.ended) == (["permit"] * 2, None, 0)
    response.body.close()
    response.body.close()
    assert middleware.ended == 1


def test_a_stream_may_be_given_up(make_mesh):
    """One that is dropped in the middle of a step leaves nothing behind in whoever collects it."""

    async def steps():
        await asyncio.Event().wait()
        yield current.decision()

    async def give_up():
        middleware = Middleware(make_mesh())
        response = await middleware.aserve(Request(), lambda _: asyncio.sleep(0, Response(steps())))
        waiting = asyncio.ensure_future(anext(response.body))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        response.body.close()
        return current.record()

    assert asyncio.run(give_up()) is None
    gc.collect()


def test_routes_and_readers_are_the_enforcer_s(make_mesh, plane):
    """A reader gets what the adapter put in ``carrier``, here the environ."""
    read = []
    middleware = Middleware(make_mesh(), principal=read.append, routes=lambda: [("GET /orders/{order}", None)])
    middleware.serve(Request("/orders/o-1"), lambda _: Response("ok"))
    assert read[0]["PATH_INFO"] == "/orders/o-1"
    assert plane.requests[0].references[0].entity_id == "o-1"
    assert plane.rule(None).verdict == Permit()
