"""What a start makes: the signer of a new mesh, and a token for the first admin, once."""

from __future__ import annotations

import asyncio
from pathlib import Path

from mcp_sdk.audit import Entry, verify
from mcp_sdk.context import MESH
from mcp_sdk.ports import Store
from mcp_sdk.server.access.callers import Caller, Grant
from mcp_sdk.server.access.identities import IdentityGrant
from mcp_sdk.server.access.tokens import Token, Tokens
from mcp_sdk.server.auditor import Auditor
from mcp_sdk.server.run import Prepared, prepare
from mcp_sdk.stores.sqlite import connect

ADA = Caller("ada", (Grant("admin"),), key="oidc:sub:1")


def store_at(place: Path) -> Store:
    """Give a store over a file."""
    return connect(f"sqlite:///{place / 'mesh.db'}")


async def entries(store: Store) -> list[tuple[str, str, str]]:
    """Give the audit log, which must hold, in short."""
    texts = await store.audit()
    assert verify(texts) is None
    return [(one.who, one.what, one.phase) for one in map(Entry.from_text, texts)]


def test_a_first_start_makes_an_admin_and_says_so_in_the_audit_log(tmp_path: Path) -> None:
    """The signer and the token are audited; a second start makes nothing more."""

    async def run() -> None:
        first, second = [await prepare(store_at(tmp_path), now=0) for _ in range(2)]
        assert (bool(first.token), second) == (True, Prepared(first.key))
        store = store_at(tmp_path)
        await store.open()
        whats = [
            ("mcpctl serve", what, phase) for what in ("signer.create", "token.create") for phase in ("begun", "done")
        ]
        assert await entries(store) == whats
        assert first.token.split("_", 2)[2] not in "".join(await store.audit())
        await store.close()

    asyncio.run(run())


async def _revoked(store: Store) -> None:
    """Have people come in by OpenID, and revoke every token."""
    tokens = Tokens(store)
    await tokens.learn()
    (token,) = tokens.known
    assert isinstance(token, Token)
    await store.put_record(MESH, IdentityGrant("oidc:group:platform", (Grant("admin"),)).record())
    async with Auditor(store).change(ADA, "token.revoke", target=token.id):
        await tokens.remove(token)


def test_a_restart_without_tokens_makes_none_where_people_come_in_otherwise(tmp_path: Path) -> None:
    """No identity, and no trace of anybody who was ever let in, may be there for a root token to be made."""

    async def run() -> None:
        await prepare(store_at(tmp_path), now=0)
        store = store_at(tmp_path)
        await store.open()
        await _revoked(store)
        assert (await prepare(store_at(tmp_path), now=1)).token == ""
        for record in await store.records(MESH, "identity"):
            await store.delete_record(MESH, record)
        assert (await prepare(store_at(tmp_path), now=1)).token == ""
        await store.close()

    asyncio.run(run())


def test_whoever_has_no_token_left_makes_one_on_purpose(tmp_path: Path) -> None:
    """It is audited as made by a start, under a name of its own."""

    async def run() -> None:
        await prepare(store_at(tmp_path), now=0)
        made = await prepare(store_at(tmp_path), now=1, new_admin=True)
        store = store_at(tmp_path)
        tokens = Tokens(store)
        await store.open()
        await tokens.learn()
        assert tokens.caller(made.token).name == "new-admin"
        assert (await entries(store))[-2:] == [("mcpctl serve", "token.create", phase) for phase in ("begun", "done")]
        await store.close()

    asyncio.run(run())
