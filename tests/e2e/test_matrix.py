"""The context survives threads, executors, tasks, streams, websockets, generators and prefork workers."""

import asyncio
import time

import httpx
import pytest

from mcp_sdk import ModelContext


@pytest.fixture(scope="module")
def asgi(serve):
    """Serve the ASGI application by uvicorn."""
    return serve("uvicorn", "matrix_asgi:app", "--port", "PORT", "--log-level", "critical")


@pytest.fixture(scope="module")
def wsgi(serve):
    """Serve the WSGI application by gunicorn with two workers, forked after the application was loaded."""
    return serve(
        "gunicorn", "matrix_wsgi:app", "-w", "2", "--preload", "-b", "127.0.0.1:PORT", "--log-level", "critical"
    )


@pytest.fixture
def header(peer):
    """Give a function that gives the header by which the peer carries an order."""
    return lambda number: {
        "baggage": peer.codec.encode([ModelContext("order", number, "paid", {}, 3)], now=time.time()).header
    }


@pytest.mark.parametrize("way", ["direct", "sync", "to_thread", "executor", "thread", "task"])
def test_the_context_is_there_wherever_the_work_runs(asgi, header, way):
    """Each kind of work sees the order that the request carried."""
    assert httpx.get(f"{asgi}/{way}", headers=header("o-1")).text == "o-1:paid"


@pytest.mark.parametrize("way", ["stream", "sync_stream"])
def test_a_streaming_body_keeps_the_context(asgi, header, way):
    """Every part of the body is made with the order at hand."""
    assert httpx.get(f"{asgi}/{way}", headers=header("o-2")).text == "o-2:paid\n" * 2


def test_a_background_task_keeps_the_context(asgi, header):
    """It runs after the response, and still knows."""
    httpx.get(f"{asgi}/background?key=a", headers=header("o-3"))
    for _ in range(100):
        if (seen := httpx.get(f"{asgi}/later?key=a").text) != "not yet":
            break
        time.sleep(0.02)
    assert seen == "o-3:paid"


def test_what_a_thread_binds_the_handler_sees(asgi):
    """A ContextVar set in a thread is lost; the record is not."""
    assert httpx.get(f"{asgi}/bound").text.startswith("o-bound:")


def test_requests_at_once_do_not_see_each_other_s(asgi, header):
    """Fifty requests in flight, each with an order of its own, and one with none."""

    async def all_at_once():
        async with httpx.AsyncClient() as client:
            some = [client.get(f"{asgi}/task", headers=header(f"o-{number}")) for number in range(50)]
            return [response.text for response in await asyncio.gather(*some, client.get(f"{asgi}/task"))]

    assert asyncio.run(all_at_once()) == [*(f"o-{number}:paid" for number in range(50)), "none"]


def test_a_websocket_keeps_the_context(asgi, header):
    """Every message of the connection is handled with the order that opened it."""
    client = pytest.importorskip("websockets.sync.client")
    with client.connect(f"{asgi.replace('http', 'ws')}/websocket", additional_headers=header("o-4")) as socket:
        for _ in range(2):
            socket.send("?")
            assert socket.recv() == "o-4:paid"


@pytest.mark.parametrize("way", ["direct", "thread", "stream"])
def test_prefork_workers_keep_the_context(wsgi, header, way):
    """Workers of a preloaded application each have a plane of their own, verify the context and carry it."""
    for number in range(20):
        for line in httpx.get(f"{wsgi}/{way}", headers=header(f"o-{number}")).text.splitlines():
            assert line.split()[1] == f"o-{number}:paid"
