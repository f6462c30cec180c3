"""What a remote plane publishes while the server keeps it out: it waits, for the server judged none of it."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from dataclasses import replace

import pytest
from serving import Replica
from waiting import until

from mcp_sdk import BusinessModel, Config, Mesh
from mcp_sdk.clients import api
from mcp_sdk.context import MESH, Transition
from mcp_sdk.exceptions import StoreDenied, StoreError, StoreUnavailable
from mcp_sdk.ports import Record
from mcp_sdk.server.access.callers import Grant
from mcp_sdk.server.access.tokens import KIND, mint
from mcp_sdk.stores.sqlite import connect

ORDER = BusinessModel("order", states=("created", "paid"))
PUBLISHER, VIEWER = Grant("publisher"), Grant("viewer")


def keep(replica: Replica, record: Record | None, name: str) -> None:
    """Put a token's record into the store, or take it away, as another replica would."""

    async def put() -> None:
        store = connect(replica.store, poll_interval=0.05)
        await store.open()
        try:
            for held in await store.records(MESH, KIND):
                if held.name == name:
                    await store.delete_record(MESH, held)
            if record is not None:
                await store.put_record(MESH, replace(record, revision=0))
        finally:
            await store.close()

    asyncio.run(put())


@pytest.mark.parametrize("by", ["a grant that is gone", "a token that is gone"])
def test_what_is_published_while_the_server_keeps_the_service_out_is_not_lost(
    replica: Replica, caplog: pytest.LogCaptureFixture, by: str
) -> None:
    """Transitions wait while a grant or a token is gone, one warning says what to mend, and then all are stored."""
    caplog.set_level(logging.INFO, "mcp_sdk")
    token, text = mint("shop", [PUBLISHER], service="shop", now=time.time())
    poor = replace(token, grants=(VIEWER,)).record() if by == "a grant that is gone" else None
    keep(replica, token.record(), token.id)
    config = Config(service="shop", control_plane=replica.url, token=text, linger=0.001, start_timeout=20.0)
    time.sleep(0.5)  # the server polls for tokens
    with Mesh(config, models=[ORDER]) as one:
        one.publish("order", "o-0", state="created")
        assert one.control_plane.flush(20)
        keep(replica, poor, token.id)
        time.sleep(0.5)
        for number in range(1, 4):
            one.publish("order", f"o-{number}", state="created")
        until(lambda: "transitions wait" in caplog.text)
        assert not one.control_plane.flush(1.0)
        keep(replica, token.record(), token.id)
        assert one.control_plane.flush(20)
        found = one.control_plane.list("order").result(10).contexts
        assert [context.entity_id for context in found] == [f"o-{number}" for number in range(4)]
    warned = [
        record.getMessage()
        for record in caplog.records
        if "transitions wait" in record.message and record.levelno == logging.WARNING
    ]
    assert len(warned) == 1
    assert "mcpctl" in warned[0]


def refused(call: api.Call[object], status: int, kind: str) -> Exception:
    """Give what a refusing answer to a call raises."""
    body = json.dumps({"type": f"urn:mcp-sdk:problem:{kind}", "title": "no", "status": status, "detail": "no"})
    with pytest.raises(StoreError) as caught:
        api.answer(call, status, body.encode())
    return caught.value


@pytest.mark.parametrize(
    ("status", "kind", "raised"),
    [
        (401, "unauthorised", StoreDenied),
        (403, "forbidden", StoreDenied),
        (403, "not-owner", StoreError),
        (408, "body-too-slow", StoreUnavailable),
        (413, "body-too-large", StoreError),
        (422, "invalid", StoreError),
        (429, "too-many-requests", StoreUnavailable),
        (503, "store-unavailable", StoreUnavailable),
    ],
)
def test_only_what_the_server_judged_is_given_up(status: int, kind: str, raised: type[Exception]) -> None:
    """Who is kept out, was too slow or asked too often appends again; content that was refused is not sent twice."""
    assert type(refused(api.append([Transition("order", "o-1", "paid", "e")]), status, kind)) is raised


def test_whoever_asks_for_an_answer_hears_at_once_that_it_is_kept_out() -> None:
    """A call that somebody waits for does not wait for a credential to be mended."""
    for status, kind in ((401, "unauthorised"), (403, "forbidden")):
        assert type(refused(api.about(), status, kind)) is StoreError
