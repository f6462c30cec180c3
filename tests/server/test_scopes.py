"""Which scopes a replica remembers: those that are used, and few of those that somebody only named."""

from __future__ import annotations

import asyncio
import gc
import json
from pathlib import Path

import httpx
import pytest
from desks import Served, served
from serving import Replica
from verbs import Typist

from mcp_sdk import BusinessModel
from mcp_sdk.context import Scope
from mcp_sdk.server.access.callers import Grant
from mcp_sdk.server.scopes import EMPTY
from mcp_sdk.server.streams import Stream


def test_scopes_that_somebody_only_named_are_forgotten_and_leave_nothing_in_the_store() -> None:
    """However many are named, a few stay in memory; no key is made for them."""

    async def work(at: Served) -> None:
        viewer = await at.client(Grant("viewer"))
        for number in range(EMPTY + 50):
            assert (await viewer.get(f"/v1/manifest?namespace=n{number}")).status_code == 200
        gc.collect()
        assert len(at.desk.hub.scopes) <= EMPTY
        assert await at.store.keys(Scope("n0")) == ()
        assert await at.store.keys(Scope(f"n{EMPTY + 49}")) == ()

    served(work)


def test_scopes_in_which_something_is_stored_stay() -> None:
    """They are known before anybody asks again, and what is stored later counts too."""

    async def work(at: Served) -> None:
        await at.desk.hub.scope(Scope("used"))
        await at.store.put_models(Scope("used"), [BusinessModel("order")])
        while not (await at.desk.hub.scope(Scope("used"))).models:  # noqa: ASYNC110 - the watch is waited for
            await asyncio.sleep(0.01)
        for number in range(EMPTY + 1):
            await at.desk.hub.scope(Scope(f"n{number}"))
        assert at.desk.hub.scopes[0].scope == Scope("used")

    served(work)


def test_a_stream_of_a_scope_without_anything_hears_what_comes() -> None:
    """However many others were asked for since: the scope that it holds is the one that changes are told to."""

    async def work(at: Served) -> None:
        hub = at.desk.hub
        held = Stream(hub, await hub.scope(Scope("quiet")), at.desk.settings)
        held.begin("", [])
        greeted = [json.loads(await held.outbox.next())["op"] for _ in range(2)]
        for number in range(EMPTY + 1):
            await hub.scope(Scope(f"n{number}"))
        gc.collect()
        await at.store.put_models(Scope("quiet"), [BusinessModel("order")])
        assert (greeted, json.loads(await held.outbox.next())["op"]) == (["services", "manifest"], "manifest")
        assert await hub.scope(Scope("quiet")) is held._live

    served(work)


def test_who_only_looks_leaves_no_signing_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``mcpctl`` in a mistyped namespace changes nothing, whatever its token may; a service that comes there does."""
    with Replica(tmp_path) as replica:
        typist = Typist(tmp_path, replica.url, replica.token)
        for name, value in typist.settings.items():
            monkeypatch.setenv(name, value)
        shop = typist.json("token", "create", "--role", "publisher", "--service", "shop")["text"]
        for token in (shop, replica.token):
            monkeypatch.setenv("MCP_SDK_TOKEN", token)
            assert typist("get", "policies", "-n", "typo") == 0, typist.err
        with typist.mesh(namespace="meant") as service:
            assert service.control_plane.keys()
        typist.token = typist.json("token", "create", "--role", "publisher", "--service", "mcpctl")["text"]
        with typist.mesh(service="mcpctl", namespace="called-so") as service:
            assert service.control_plane.keys()
        headers = {"authorization": f"Bearer {replica.token}"}
        answer = httpx.get(f"{replica.url}/v1/audit", headers=headers, trust_env=False)
        made = [one for one in answer.json()["entries"] if one["what"] == "keys.create"]
        assert {one["namespace"] for one in made} == {"meant", "called-so"}


def test_a_first_signing_key_is_audited(tmp_path: Path) -> None:
    """It is made for a service that may sign, and the log says for whom; its secret is nowhere in it."""
    with Replica(tmp_path) as replica:
        typist = Typist(tmp_path, replica.url, replica.token)
        with typist.mesh() as publishing:
            (key,) = publishing.control_plane.keys()
        with typist.mesh() as again:
            assert again.control_plane.keys() == (key,)
        headers = {"authorization": f"Bearer {replica.token}"}
        answer = httpx.get(f"{replica.url}/v1/audit", headers=headers, trust_env=False)
        made = [one for one in answer.json()["entries"] if one["what"] == "keys.create"]
        assert [(one["phase"], one["target"], one["who"]) for one in made] == [
            ("begun", key.kid, "first-admin"),
            ("done", key.kid, "first-admin"),
        ]
        assert key.secret.hex() not in answer.text
