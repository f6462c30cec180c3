"""Which services may assert a model: say that its entities changed.

The first service that declares a model owns it, and from then on says alone what there is to it (module ``declaring``).
A model that nobody owns, or whose owners are ``*``, may be asserted by any service that may publish; callers that speak
for no service (tools, admins) may assert all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from mcp_sdk.context import Scope
from mcp_sdk.ports import Record
from mcp_sdk.server.access.callers import Caller
from mcp_sdk.server.commands import command
from mcp_sdk.server.desk import Desk
from mcp_sdk.server.faults import Fault
from mcp_sdk.server.shelf import Shelf

__all__ = ["KIND", "claim", "owners_of", "require_own", "require_owner", "set_owners"]

KIND = "owner"


async def owners_of(shelf: Shelf, scope: Scope) -> Mapping[str, tuple[str, ...]]:
    """Give the owners of each model that has some."""
    return {record.name: tuple(record.content["services"]) for record in await shelf.records(scope, KIND)}


async def claim(desk: Desk, scope: Scope, caller: Caller, models: Iterable[str]) -> None:
    """Make the service of a caller the owner of some models; raises ``RevisionConflict`` where another was first."""
    for model in models:
        await _put(desk, scope, caller, Record(KIND, model, {"services": [caller.service]}), None)


async def set_owners(desk: Desk, scope: Scope, caller: Caller, model: str, services: Iterable[str]) -> tuple[str, ...]:
    """Say who owns a model; raises ``RevisionConflict`` where somebody else says so just now."""
    held, said = await desk.shelf.record(scope, KIND, model), sorted(set(services))
    await _put(desk, scope, caller, Record(KIND, model, {"services": said}, held.revision if held else 0), held)
    return tuple(said)


async def _put(desk: Desk, scope: Scope, caller: Caller, record: Record, held: Record | None) -> None:
    before = None if held is None else held.content["services"]
    async with desk.auditor.change(caller, "model.own", scope=scope, target=record.name, before=before) as change:
        await desk.shelf.put(scope, record)
        change.after = record.content["services"]


async def require_owner(shelf: Shelf, caller: Caller, asserted: Iterable[tuple[str, str, str]]) -> None:
    """Raise a 403 that names the owners, unless the caller may assert each model: (namespace, environment, name)."""
    found: dict[Scope, set[str]] = {}
    for namespace, environment, model in asserted:
        found.setdefault(Scope(namespace, environment), set()).add(model)
    for scope, models in found.items():
        await require_own(shelf, caller, scope, sorted(models))


async def require_own(shelf: Shelf, caller: Caller, scope: Scope, models: Iterable[str]) -> None:
    """Raise a 403 that names the owners, unless the caller may assert, and change, every one of some models."""
    if not caller.service:
        return
    held = await owners_of(shelf, scope)
    for model in models:
        owners = held.get(model, ("*",))
        if caller.service not in owners and "*" not in owners:
            verb = command(f"mcpctl model own {model} --service {caller.service}", scope)
            raise Fault(
                403,
                "not-owner",
                f"{caller.service!r} does not own the model {model!r}: {', '.join(owners)} does. Nothing was stored. "
                f"An operator changes that with: {verb}",
                owners=list(owners),
            )
