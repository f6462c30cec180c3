"""What no client should send: one clear problem each, never a failure of the server, never its memory."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from desks import Served, served
from serving import Replica, resident
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from mcp_sdk.context import Scope, Transition
from mcp_sdk.protocol.frames import frame
from mcp_sdk.server.access.callers import Grant
from mcp_sdk.server.access.tokens import mint
from mcp_sdk.server.app import create_app
from mcp_sdk.server.bodies import parse
from mcp_sdk.server.faults import Fault
from mcp_sdk.server.settings import ServerSettings
from mcp_sdk.snapshot import PolicyRevision
from mcp_sdk.stores.memory import MemoryStore

JSON = "application/json"
PATHS = ("/v1/transitions", "/v1/decide", "/v1/policies", "/access/v1/evaluation")
MIB = 1024 * 1024
BODIES = [
    ("malformed", b'{"a": ', JSON, 400, "not JSON"),
    ("empty", b"", JSON, 400, ""),
    ("deep", b"[" * 200_000, JSON, 400, "nested too deeply"),
    ("nan", b'{"service": NaN}', JSON, 400, "NaN"),
    ("infinite", b'{"service": 1e999}', JSON, 400, "too large a number"),
    ("digits", b'{"service": ' + b"9" * 5000 + b"}", JSON, 400, "not JSON"),
    ("latin-1", b'{"service": "\xe4"}', JSON, 400, "not UTF-8"),
    ("half a pair", b'{"service": "\\ud800"}', JSON, 400, "not UTF-8"),
    ("xml", b"<a/>", "application/xml", 415, "application/json"),
    ("form", b"a=b", "application/x-www-form-urlencoded", 415, "application/json"),
    ("no type", b"{}", "", 415, "application/json"),
    ("a list", b"[1]", JSON, 422, ""),
    ("null", b"null", JSON, 422, ""),
]


@pytest.mark.parametrize(
    ("method", "path", "query", "said"),
    [
        ("POST", "/v1/decide", {"namespace": "n"}, "'namespace'; it knows none. Leave it out, or say it in the body"),
        ("GET", "/v1/models", {"enviroment": "prod"}, "'enviroment'; it knows environment, namespace. Leave it out"),
        ("GET", "/v1/tap", {"service": "shop", "model": "order"}, "'model'; it knows after, environment, filter"),
        ("GET", "/v1/about", {f"n{number}": "" for number in range(9)}, "'n0', 'n1', 'n2', 'n3', 'n4'; it"),
    ],
)
def test_a_query_parameter_that_is_not_known_is_refused(
    admin: httpx.Client, method: str, path: str, query: dict[str, str], said: str
) -> None:
    """It would be passed over, and another scope would answer; who says nothing of itself learns no names."""
    answer = admin.request(method, path, params=query, json={"service": "shop"} if method == "POST" else None)
    assert (answer.status_code, answer.json()["type"]) == (422, "urn:mcp-sdk:problem:unknown-parameter")
    assert f"{method} {path} does not know the query parameter {said}" in answer.json()["detail"]
    stranger = httpx.request(method, f"{admin.base_url}{path}", params=query, json={}, trust_env=False)
    assert stranger.status_code == 401


def test_a_query_parameter_that_authzen_does_not_know_is_passed_over(admin: httpx.Client) -> None:
    """As its clients may expect; health is asked by all kinds of probes."""
    answer = admin.post("/access/v1/evaluation", json={"subject": 1}, params={"trace": "1"})
    assert (answer.status_code, answer.json()["type"]) == (400, "urn:mcp-sdk:problem:invalid")
    assert "trace" not in answer.text
    assert admin.get("/healthz", params={"trace": "1"}).status_code == 200


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("body", "kind", "status", "said"), [row[1:] for row in BODIES], ids=[row[0] for row in BODIES]
)
def test_a_body_that_is_none_gets_one_clear_problem(
    admin: httpx.Client, path: str, body: bytes, kind: str, status: int, said: str
) -> None:
    """The same fault is told in the same words on every route."""
    response = admin.post(path, content=body, headers={"content-type": kind} if kind else {})
    expected = {status, 422, 400} if status == 422 or not body else {status}
    assert response.status_code in expected, response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert said in response.json()["detail"]


@pytest.mark.parametrize("path", ["/v1/decide", "/v1/policies", "/access/v1/evaluation"])
@pytest.mark.parametrize(
    ("body", "name"), [(b'{"service": "a", "service": "shop"}', "service"), (b'{"a": [{"b": 1, "\\u0062": 2}]}', "b")]
)
def test_a_body_that_says_a_name_twice_is_refused(admin: httpx.Client, path: str, body: bytes, name: str) -> None:
    """What stands before this server may have believed the other one."""
    answer = admin.post(path, content=body, headers={"content-type": JSON})
    assert (answer.status_code, answer.json()["type"]) == (400, "urn:mcp-sdk:problem:malformed")
    assert f"an object in the body says {name!r} twice: say it once" in answer.json()["detail"]


@pytest.fixture(scope="module", params=["h11", "httptools"])
def replica(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replica]:
    """A server whose HTTP is read by each of the parsers that may be installed."""
    directory = tmp_path_factory.mktemp(request.param)
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "h11":
            (directory / "httptools.py").write_text("raise ImportError('this is not installed')\n")
            patch.setenv("PYTHONPATH", str(directory))
        else:
            pytest.importorskip("httptools")
        with Replica(directory) as running:
            yield running


def chunks(size: int) -> Iterator[bytes]:
    """Give a body without saying how long it is."""
    yield from (b"x" * MIB for _ in range(size // MIB))


def test_a_body_of_100_mb_is_refused_and_not_kept(replica: Replica, admin: httpx.Client) -> None:
    """Refused at once where the length is said, at the limit where it is not; the process hardly grows by either.

    Whoever sends it reads the refusal, though it was answered before all of it was sent.
    """
    before = resident(replica.pid)
    for content in (b"x" * 100 * MIB, chunks(100 * MIB)):
        response = admin.post("/v1/transitions", content=content, headers={"content-type": JSON})
        assert response.status_code == 413
        assert "8388608 bytes" in response.json()["detail"]
    assert resident(replica.pid) - before < 40 * MIB
    assert admin.get("/healthz").status_code == 200


def test_who_sends_a_body_in_chunks_reads_why_it_is_refused(replica: Replica, admin: httpx.Client) -> None:
    """Also a client that reads nothing before it has sent all, and says not how much that is."""
    connection = http.client.HTTPConnection("127.0.0.1", replica.port, timeout=20)
    headers = {"content-type": JSON, "authorization": admin.headers["authorization"], "transfer-encoding": "chunked"}
    connection.request("POST", "/v1/transitions", chunks(20 * MIB), headers, encode_chunked=True)
    assert connection.getresponse().status == 413
    connection.close()


def raw(replica: Replica, request: bytes) -> bytes:
    """Send bytes, and give what comes back."""
    with socket.create_connection(("127.0.0.1", replica.port), timeout=10) as connection:
        connection.sendall(request)
        answer = b""
        while more := connection.recv(65536):
            answer += more
        return answer


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET /healthz HTTP/1.1\r\nhost: a\r\nconnection: close\r\n" + b"a: b\r\n" * 300 + b"\r\n", b"431"),
        (b"GET /healthz HTTP/1.1\r\nhost: a\r\na: " + b"b" * 300_000 + b"\r\n\r\n", b"400"),
        (b"POST /v1/transitions HTTP/1.1\r\nhost: a\r\ncontent-length: -5\r\n\r\n", b"400"),
        (b"POST /v1/transitions HTTP/1.1\r\nhost: a\r\ncontent-length: 99999999999\r\n\r\n", b"413"),
        (
            b"POST /v1/decide HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            b"400",
        ),
        (b"GET /v1/models/ HTTP/1.1\r\nhost: elsewhere\r\nconnection: close\r\n\r\n", b"404"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", b"400"),
        (b"NONSENSE\r\n\r\n", b"400"),
    ],
)
def test_what_is_no_request_gets_a_problem_too(replica: Replica, head: bytes, status: bytes) -> None:
    """Too many headers, impossible lengths, and bytes that are no HTTP at all."""
    answer = raw(replica, head)
    assert answer.split(b" ", 2)[1] == status, answer[:200]
    assert b"application/problem+json" in answer


def test_a_head_without_end_is_refused(replica: Replica) -> None:
    """However slowly its headers come, and whichever parser reads them."""
    with socket.create_connection(("127.0.0.1", replica.port), timeout=10) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nhost: a\r\n")
        with suppress(OSError):
            for _ in range(20):
                connection.sendall(b"a-header: with a value\r\n" * 300)
        answer = connection.recv(65536)
    assert answer.split(b" ", 2)[1] == b"400", answer[:200]


def test_a_trailer_without_end_is_refused(replica: Replica) -> None:
    """What follows the last chunk of a body is bounded as a head is."""
    head = b"POST /healthz HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n"
    before = resident(replica.pid)
    with socket.create_connection(("127.0.0.1", replica.port), timeout=10) as connection, suppress(OSError):
        connection.sendall(head)
        for _ in range(40):
            connection.sendall(b"a: b\r\n" * (MIB // 6))
    assert resident(replica.pid) - before < 20 * MIB


def test_a_body_that_does_not_come_is_given_up() -> None:
    """A body has so long to arrive as a whole; then the request is answered with a 408."""

    async def slowly() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.sleep(30)

    async def ask() -> httpx.Response:
        app = create_app(ServerSettings(store="memory://", body_time=0.05), MemoryStore())
        async with app.router.lifespan_context(app):
            token, text = mint("test", [Grant("admin")], now=time.time())
            await app.state.desk.hub.tokens.add(token)
            headers = {"authorization": f"Bearer {text}"}
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://test", headers=headers) as client:
                return await client.post("/v1/decide", content=slowly(), headers={"content-type": JSON})

    response = asyncio.run(ask())
    assert (response.status_code, response.json()["type"]) == (408, "urn:mcp-sdk:problem:body-too-slow")


def said(entity: str, state: str, **more: Any) -> dict[str, Any]:
    """Give a transition as it is posted."""
    return {"transitions": [Transition("parcel", entity, state, uuid.uuid4().hex, **more).to_dict()]}


def test_a_stolen_token_opens_nothing_past_its_scope(replica: Replica, admin: httpx.Client) -> None:
    """A token of one service in one namespace is refused for all else, and once it is revoked for everything."""
    asked = {"name": "s", "service": "post", "grants": [{"role": "publisher", "namespace": "post"}], "ttl": 600}
    made = admin.post("/v1/tokens", json=asked).json()
    headers = {"authorization": f"Bearer {made['text']}"}

    async def opened(namespace: str) -> str:
        async with connect(f"ws://127.0.0.1:{replica.port}/v1/stream", additional_headers=headers) as socket:
            await socket.send(frame("hello", protocol=[1], models=["parcel"], namespace=namespace))
            try:
                return str(json.loads(await socket.recv())["op"])
            except ConnectionClosed:
                return f"{socket.close_code} {(socket.close_reason or '')[:3]}"

    with httpx.Client(base_url=replica.url, headers=headers, trust_env=False, timeout=30) as thief:

        def status(path: str, body: Any = None, **where: str) -> int:
            return thief.request("POST" if body else "GET", path, json=body, params=where).status_code

        assert status("/v1/transitions", said("p-1", "sent", namespace="post")) == 200
        assert asyncio.run(opened("post")) == "welcome"
        for namespace in ("default", "bank"):
            assert status("/v1/transitions", said("p-1", "sent", namespace=namespace)) == 403
            assert status("/v1/contexts/parcel", namespace=namespace) == 403
            assert status("/v1/decide", {"service": "post", "namespace": namespace}) == 403
            assert asyncio.run(opened(namespace)) == "4400 's'"
            assert admin.get("/v1/contexts/parcel", params={"namespace": namespace}).json()["contexts"] == []
        assert status("/v1/policies", {"sources": {}, "replaces": 0}, namespace="post") == 403
        assert status("/v1/tokens", asked) == 403
        assert admin.delete(f"/v1/tokens/{made['id']}").status_code == 204
        assert status("/v1/transitions", said("p-1", "sent", namespace="post")) == 401


def test_clocks_that_are_apart_change_no_order(admin: httpx.Client) -> None:
    """What services say is ordered as it comes, however wrong their clocks are, and said again changes nothing."""
    hours = (1, -1, 24, -24 * 365, 0)
    bodies = [said("p-2", f"s{each}", observed_at=datetime.now(UTC) + timedelta(hours=each)) for each in hours]
    for status in ("applied", "duplicate"):
        for number, body in enumerate(bodies, 1):
            (result,) = admin.post("/v1/transitions", json=body).json()["results"]
            assert (result["status"], result["revision"]) == (status, number)
    context = admin.get("/v1/contexts/parcel/entity", params={"id": "p-2"}).json()
    assert (context["state"], context["revision"]) == ("s0", len(hours))
    found = admin.get("/v1/contexts/parcel/history", params={"id": "p-2"}).json()["transitions"]
    assert [each["transition"]["to_state"] for each in found] == [f"s{each}" for each in hours]


def test_unknown_paths_and_methods_are_problems(admin: httpx.Client) -> None:
    """Also what no route is for is answered in the same form."""
    assert admin.get("/nothing").json()["type"] == "urn:mcp-sdk:problem:not-found"
    refused = admin.delete("/v1/decide")
    assert (refused.status_code, refused.headers["allow"]) == (405, "POST")
    assert admin.put("/v1/services").headers["allow"] == "DELETE, GET, POST"


@pytest.mark.parametrize("path", PATHS)
def test_nobody_has_a_body_read_without_a_token(replica: Replica, path: str) -> None:
    """Reading JSON costs a hundred times its size: who asks is known first, so what is no JSON is not found out."""
    headers = {"content-type": JSON}
    with httpx.Client(base_url=replica.url, trust_env=False) as nobody:
        assert nobody.post(path, content=b"[" * 200_000, headers=headers).status_code == 401


def test_one_request_counts_once(tmp_path: Path) -> None:
    """Whoever is let in before the body is not counted again for the route."""
    with Replica(tmp_path, options=("--rate", "requests=0.001:2")) as replica:
        headers = {"authorization": f"Bearer {replica.token}"}
        with httpx.Client(base_url=replica.url, trust_env=False, headers=headers) as client:
            asked = [client.post("/v1/decide", json={"service": "shop"}).status_code for _ in range(3)]
    assert asked == [200, 200, 429]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/transitions", b'{"transitions":[' + b"{}," * 150_000 + b"{}]}"),
        ("/v1/decide/batch", b'{"questions":[' + b"{}," * 150_000 + b"{}]}"),
        ("/v1/models", b'{"models":[' + b"1," * 300_000 + b"1]}"),
        ("/v1/policies", b'{"replaces":0,"sources":{' + b'"a":1,' * 150_000 + b'"a":1}}'),
    ],
)
def test_a_body_of_too_many_values_is_refused_before_they_are_made(admin: httpx.Client, path: str, body: bytes) -> None:
    """A few megabytes of the smallest values would be gigabytes of objects and of errors about them."""
    response = admin.post(path, content=body, headers={"content-type": JSON})
    assert (response.status_code, response.json()["type"]) == (413, "urn:mcp-sdk:problem:too-many-values")


@pytest.mark.parametrize("text", ["a, [b] {c}\\n" * 100_000, '"' * 400_000, "\\" * 400_000])
def test_what_is_in_strings_is_not_counted(text: str) -> None:
    """A policy file is one value, whatever it holds."""
    assert parse(json.dumps({"a": text}).encode()) == {"a": text}


@pytest.mark.parametrize("body", [b'"' + b'\\"' * 2_000_000, b'"' * 4_000_001, b'{"a":"' + b"," * 4_000_000])
def test_strings_that_never_end_are_refused_in_linear_time(body: bytes) -> None:
    """Looking for the end of each anew would take hours."""
    with pytest.raises(Fault):
        parse(body)


def test_of_a_batch_only_the_first_transition_that_does_not_fit_is_told_of(admin: httpx.Client) -> None:
    """What is wrong with thousands of others is not even put together."""
    batch = admin.post("/v1/transitions", json={"transitions": [{}] * 1000}).json()
    assert {error["at"].split(".")[1] for error in batch["errors"]} == {"0"}
    attributes = {f"a{number}": {} for number in range(1001)}
    one = {"model": "m", "entity_id": "e", "event_id": "e", "attributes": attributes}
    many = admin.post("/v1/transitions", json=one).json()
    assert [error["is"] for error in many["errors"]] == ["Value error, more than 1000 attributes"]
    longer = admin.post("/v1/transitions", json={"transitions": [{}] * 1001}).json()
    assert longer["type"] == "urn:mcp-sdk:problem:batch-too-large"


@pytest.mark.parametrize(
    "changed",
    [
        {"url": "http://" + "x" * 3000},
        {"url": ["http://127.0.0.1:1"]},
        {"url": ""},
        {"service": {"a": 1}},
        {"service": "a\x1b[2J"},
        {"weight": 10**30},
        {"weight": 1.5},
        {"load": "much"},
        {"labels": {"a": 1}},
        {"labels": {str(number): "" for number in range(101)}},
    ],
    ids=lambda changed: str(changed)[:30],
)
def test_an_endpoint_that_a_client_could_not_read_is_refused(admin: httpx.Client, changed: dict[str, object]) -> None:
    """Every client of the scope is told of all endpoints in one frame: one that fits not would cost them all."""
    endpoint = {"service": "shop", "url": "http://127.0.0.1:1"} | changed
    assert admin.post("/v1/services", json={"endpoint": endpoint}).status_code == 422


def test_parts_that_there_are_not_are_not_looked_for_again_and_again() -> None:
    """Reading the store takes the turn of a change of policies: a viewer could keep every change waiting."""

    class Counting(MemoryStore):
        read = 0

        async def policies(self, scope: Scope, revision: int | None = None) -> PolicyRevision | None:
            self.read += 1
            return await super().policies(scope, revision)

    store = Counting()

    async def work(at: Served) -> None:
        viewer = await at.client(Grant("viewer"))
        await viewer.get("/v1/manifest")
        before = store.read
        asked = await asyncio.gather(*(viewer.get(f"/v1/parts/{number:064x}") for number in range(50)))
        assert {answer.status_code for answer in asked} == {404}
        assert store.read - before < 25

    served(work, store)
