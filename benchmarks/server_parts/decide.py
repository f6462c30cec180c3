"""What a decision costs over HTTP, beside a bare FastAPI route that answers as many bytes to the same client.

Both run under uvicorn with the same settings and take turns. The client writes and reads by hand, so that what it takes
itself is little. ``looked up`` are questions that name an entity, which the server reads from its store.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Any
from urllib.parse import urlsplit

from mcp_sdk.context import ModelContext, Transition
from mcp_sdk.snapshot import PolicyRevision
from server_parts.fanout import POLICY
from server_parts.processes import ORDER, free_port, plane, processor_seconds, quantiles, replica, serving

BATCH, ROUNDS = 100, 3
BARE = """
import sys, uvicorn
from typing import Any
from fastapi import FastAPI
app = FastAPI()
ANSWER = {"text": "x" * 400}
@app.get("/readyz")
async def ready() -> dict[str, str]:
    return {}
@app.post("/decide")
async def decide(asked: dict[str, Any]) -> dict[str, str]:
    return ANSWER
uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
"""


@dataclass(frozen=True)
class Asked:
    """A request that is sent again and again: ``questions`` is how many it asks; ``pid`` is of who answers."""

    name: str
    url: str
    path: str
    body: Any
    token: str
    pid: int
    questions: int = 1

    def text(self) -> bytes:
        """Give it as HTTP/1.1."""
        body = json.dumps(self.body).encode()
        head = f"POST {self.path} HTTP/1.1\r\nhost: mesh\r\nauthorization: Bearer {self.token}\r\n"
        return f"{head}content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body


async def _lane(asked: Asked, seconds: float) -> list[float]:
    """Ask on one connection, one after another; give how long each answer took."""
    place, text, delays = urlsplit(asked.url), asked.text(), []
    reader, writer = await asyncio.open_connection(place.hostname, place.port)
    until = time.perf_counter() + seconds
    while (began := time.perf_counter()) < until:
        writer.write(text)
        head = await reader.readuntil(b"\r\n\r\n")
        body = await reader.readexactly(int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]))
        if not head.startswith(b"HTTP/1.1 200"):
            raise SystemExit(f"{asked.name} was not answered: {head[:40]!r} {body[:200]!r}")
        delays.append(time.perf_counter() - began)
    writer.close()
    return delays


async def _lanes(asked: Asked, count: int, seconds: float) -> list[float]:
    return list(chain.from_iterable(await asyncio.gather(*(_lane(asked, seconds) for _ in range(count)))))


@contextmanager
def _bare() -> Iterator[Asked]:
    with tempfile.TemporaryDirectory() as folder:
        url = f"http://127.0.0.1:{(port := free_port())}"
        with serving([sys.executable, "-c", BARE, str(port)], url, folder) as pid:
            yield Asked("bare route", url, "/decide", _question([]), "", pid)


def _question(contexts: list[Any], **more: Any) -> dict[str, Any]:
    request = {"method": "GET", "path": "/orders/o-1", "operation": "GET /orders/{id}"}
    asking = {"service": "shop", "operation": "GET /orders/{id}", "contexts": contexts, "request": request}
    return asking | {"principal": {"id": "ada", "authenticated": True, "roles": ["clerk"]}} | more


def _ours(url: str, token: str, pid: int) -> list[Asked]:
    sent = _question([ModelContext("order", "o-1", "paid", {"amount": 5}).to_dict()])
    access = {
        "subject": {"type": "user", "id": "ada"},
        "action": {"name": "GET /orders/{id}"},
        "resource": {"type": "order", "id": "o-1"},
        "context": {"service": "shop"},
    }
    batch = {"questions": [sent] * BATCH}
    return [
        Asked("decide", url, "/v1/decide", sent, token, pid),
        Asked("decide, looked up", url, "/v1/decide", _question([], references=[["order", "o-1"]]), token, pid),
        Asked(f"decide/batch of {BATCH}", url, "/v1/decide/batch", batch, token, pid, BATCH),
        Asked("authzen, looked up", url, "/access/v1/evaluation", access, token, pid),
    ]


def _prepare(url: str, token: str) -> None:
    operator = plane(url, token)
    operator.start([ORDER]).result(30)
    operator.publish([Transition("order", "o-1", "paid", "e-1", source="shop")])
    operator.flush(10)
    operator.apply(PolicyRevision(operator.snapshot().revision, {}, {"a.yaml": POLICY.format(number=0)})).result(30)
    operator.close(1)


def measure(store: str, seconds: float = 3.0) -> list[dict[str, Any]]:
    """Ask each over one connection, and over eight; p50 and p99 are of a request, rates are of questions."""
    with replica(store, "--rate", "requests=1000000") as (url, token, pid), _bare() as bare:
        _prepare(url, token)
        everything = [bare, *_ours(url, token, pid)]
        for asked in everything:
            asyncio.run(_lanes(asked, 8, 0.5))
        return [_row(asked, lanes, seconds) for lanes in (1, 8) for asked in everything]


def _row(asked: Asked, lanes: int, seconds: float) -> dict[str, Any]:
    spent, delays = processor_seconds(asked.pid), asyncio.run(_lanes(asked, lanes, seconds))
    used = (processor_seconds(asked.pid) - spent) / len(delays) / asked.questions * 1e6
    rate = len(delays) * asked.questions / (sum(delays) / lanes)
    return {"what": asked.name, "connections": lanes, **quantiles(delays), "per_s": rate, "server_us": used}
