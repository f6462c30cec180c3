"""What a start makes: the signer of a new mesh, and a token for the first admin, once."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from servers import free_port

from mcp_sdk.audit import Entry, verify
from mcp_sdk.context import MESH
from mcp_sdk.exceptions import ConfigurationError
from mcp_sdk.ports import Store
from mcp_sdk.server.access.callers import Caller, Grant
from mcp_sdk.server.access.identities import IdentityGrant
from mcp_sdk.server.access.tokens import Token, Tokens
from mcp_sdk.server.auditor import Auditor
from mcp_sdk.server.run import Bind, Prepared, prepare, serve
from mcp_sdk.server.settings import ServerSettings
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
        (record,) = await store.records(MESH, "identity")
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


@pytest.mark.parametrize(
    ("settings", "bind", "said"),
    [
        ({"oidc_issuer": "http://login.example.org", "oidc_audience": "mesh"}, {}, "it must be an https URL"),
        ({"oidc_issuer": "https://login.example.org"}, {}, "needs --oidc-audience"),
        ({}, {"client_ca": "ca.crt"}, "ca.crt does nothing without a certificate"),
        ({}, {"private_key": "tls.key"}, "tls.key does nothing without a certificate"),
        ({}, {"certificate": "/dev/null"}, "/dev/null holds no certificate that can be read"),
    ],
)
def test_what_cannot_work_is_told_before_anything_is_made(
    tmp_path: Path, settings: dict[str, str], bind: dict[str, str], said: str
) -> None:
    """A token that was made by a start that failed would be nobody's, and the next start makes none."""
    made: list[Prepared] = []
    found = ServerSettings(store=f"sqlite:///{tmp_path / 'mesh.db'}", **settings)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match=said):
        serve(found, Bind(port=free_port(), **bind), announce=made.append)  # type: ignore[arg-type]
    assert (made, list(tmp_path.iterdir())) == ([], [])
