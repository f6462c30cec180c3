"""``/v1/tokens`` and ``/v1/identities``: who may what."""

from __future__ import annotations

import time
from typing import Annotated, Any

from fastapi import Path
from pydantic import BaseModel, Field

from mcp_sdk.context import MESH, Scope
from mcp_sdk.server import bodies
from mcp_sdk.server.access.callers import Caller, Grant, Permission
from mcp_sdk.server.access.identities import KIND, IdentityGrant, name_of, readable
from mcp_sdk.server.access.tokens import mint
from mcp_sdk.server.desk import Asker, Desk, Here
from mcp_sdk.server.faults import Fault

__all__ = ["router"]

router = bodies.router("/v1", tags=["tokens"])
Id = Annotated[str, Path(pattern="^[a-z0-9]{12,16}$")]
_NAMES_SERVICE = (
    "{!r} may not say for which service a pattern speaks. It needs the role admin everywhere: a pattern may fit "
    "callers of any namespace, and where two name different services neither counts. Leave it out, or make a token"
)
Name = Annotated[str, Field(max_length=200, pattern=r"^[^\x00-\x1f]*$")]


class Granted(BaseModel):
    """A role in a namespace and environment, over some services; ``*`` is all."""

    role: Name
    namespace: Name = "*"
    environment: Name = "*"
    targets: list[Name] = Field(default=["*"], min_length=1, max_length=1000)

    def grant(self) -> Grant:
        """Give the grant; raises ``ProtocolError`` for a role that is none."""
        return Grant(self.role, self.namespace, self.environment, tuple(self.targets))


class NewToken(BaseModel):
    """A token to make. ``ttl`` is in seconds; without it the token lasts as long as the one that made it."""

    name: Name = Field(min_length=1)
    grants: list[Granted] = Field(min_length=1, max_length=100)
    service: Name = ""
    ttl: float | None = Field(default=None, gt=0, le=10 * 366 * 86_400)


class Made(BaseModel):
    """A token that was made; ``text`` is seen this once."""

    id: str
    text: str
    expires_at: float | None


class Listing(BaseModel):
    """Tokens, without what proves them."""

    tokens: list[dict[str, Any]]


class NewIdentity(BaseModel):
    """Grants for all whose subject fits a pattern; they come to those that it has."""

    pattern: str = Field(max_length=2048)
    grants: list[Granted] = Field(min_length=1, max_length=100)
    service: Name = ""


class Identities(BaseModel):
    """Patterns and their grants."""

    identities: list[dict[str, Any]]


@router.post("/tokens", status_code=201)
async def create_token(desk: Here, caller: Asker, wanted: NewToken) -> Made:
    """Make a token; nobody gives more than it has, nor for longer."""
    grants = [one.grant() for one in wanted.grants]
    _require(caller, grants, wanted.service)
    token, text = mint(wanted.name, grants, service=wanted.service, ttl=wanted.ttl, now=time.time(), maker=caller)
    async with desk.auditor.change(caller, "token.create", scope=_scope(grants), target=token.id) as change:
        await desk.hub.tokens.add(token)
        change.after = token.shown()
    return Made(id=token.id, text=text, expires_at=token.shown()["expires_at"])


@router.get("/tokens")
async def list_tokens(desk: Here, caller: Asker) -> Listing:
    """Give the tokens that the caller could have made."""
    _require_some(caller)
    return Listing(tokens=[one.shown() for one in desk.hub.tokens.known if caller.may_grant(one.grants)])


@router.delete("/tokens/{id}", status_code=204, responses={404: {"description": "no such token"}})
async def revoke_token(desk: Here, caller: Asker, id: Id) -> None:  # noqa: A002 - the path's name
    """Revoke a token: its streams end, and no replica takes it any more."""
    _require_some(caller)
    await desk.hub.tokens.learn()
    found = next((one for one in desk.hub.tokens.known if one.id == id and caller.may_grant(one.grants)), None)
    if found is None:
        raise Fault(404, "unknown-token", f"no token {id} is known. See them with: mcpctl token list")
    scope, before = _scope(found.grants), found.shown()
    async with desk.auditor.change(caller, "token.revoke", scope=scope, target=id, before=before):
        await desk.hub.tokens.remove(found)
    desk.door.changed()


@router.post("/identities", status_code=201)
async def grant_identity(desk: Here, caller: Asker, wanted: NewIdentity) -> dict[str, Any]:
    """Give grants to all whose certificate or claims fit a pattern."""
    grants = [one.grant() for one in wanted.grants]
    _require(caller, grants, wanted.service)
    if wanted.service and not caller.may(Permission.ADMIN, MESH):
        raise Fault(403, "forbidden", _NAMES_SERVICE.format(caller.name))
    held = await _identity(desk, name_of(wanted.pattern))
    if held is not None:
        caller.require_grant(held.grants)
    kept = () if held is None else held.grants
    made = IdentityGrant(
        wanted.pattern,
        tuple(dict.fromkeys((*kept, *grants))),
        wanted.service or (held.service if held else ""),
        held.revision if held else 0,
    )
    before, scope = (held.shown() if held else None), _scope(made.grants)
    async with desk.auditor.change(
        caller, "identity.grant", scope=scope, target=wanted.pattern, before=before
    ) as change:
        await desk.shelf.put(MESH, made.record())
        change.after = made.shown()
    desk.door.changed()
    return made.shown()


@router.get("/identities")
async def list_identities(desk: Here, caller: Asker) -> Identities:
    """Give the patterns whose grants the caller could have given."""
    _require_some(caller)
    found = readable(await desk.store.records(MESH, KIND))
    return Identities(identities=[one.shown() for one in found if caller.may_grant(one.grants)])


@router.delete("/identities/{id}", status_code=204, responses={404: {"description": "no such identity"}})
async def revoke_identity(desk: Here, caller: Asker, id: Id) -> None:  # noqa: A002
    """Take the grants of a pattern away; the streams of those who have no other end."""
    _require_some(caller)
    found = await _identity(desk, id)
    if found is None or not caller.may_grant(found.grants):
        raise Fault(404, "unknown-identity", f"no identity {id} is known. See them with: mcpctl identity list")
    scope, before = _scope(found.grants), found.shown()
    async with desk.auditor.change(caller, "identity.revoke", scope=scope, target=found.pattern, before=before):
        await desk.shelf.delete(MESH, found.record())
    desk.door.changed()


async def _identity(desk: Desk, name: str) -> IdentityGrant | None:
    record = await desk.shelf.record(MESH, KIND, name)
    return None if record is None else IdentityGrant.from_record(record)


def _require(caller: Caller, grants: list[Grant], service: str) -> None:
    caller.require_grant(grants)
    caller.require_speaks(service)


def _require_some(caller: Caller) -> None:
    caller.require_some(Permission.ADMIN)


def _scope(grants: Any) -> Scope:
    """Give the scope that grants are of, or the mesh where they are of several."""
    scopes = {(grant.namespace, grant.environment) for grant in grants}
    return Scope(*scopes.pop()) if len(scopes) == 1 else MESH
