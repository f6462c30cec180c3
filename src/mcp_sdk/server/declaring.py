"""Declaring models: who may say what of a model, and that nothing is lost of what many say at once.

What is held is read, merged, and written where it still is what was read; else all of it is done again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256

from mcp_sdk.context import Scope
from mcp_sdk.exceptions import RevisionConflict, StoreUnavailable
from mcp_sdk.merging import additions, merge_all
from mcp_sdk.models import BusinessModel
from mcp_sdk.server import owners
from mcp_sdk.server.access.callers import Caller, Permission
from mcp_sdk.server.commands import command
from mcp_sdk.server.desk import Desk
from mcp_sdk.server.faults import Fault
from mcp_sdk.server.housekeeping import remember
from mcp_sdk.snapshot import canonical

__all__ = ["check", "declare", "replace"]

ATTEMPTS = 100

Owned = Mapping[str, tuple[str, ...]]


async def declare(desk: Desk, caller: Caller, scope: Scope, models: Sequence[BusinessModel]) -> bool:
    """Merge models into those that are held, and claim those that nobody owns; tell whether anything changed.

    Raises a 403 for what the caller may not change, and ``ModelError`` with every difference that does not merge.
    """
    for _ in range(ATTEMPTS):
        held, owned = await _known(desk, scope)
        merged = _merged(caller, scope, models, held, owned)
        await remember(desk.shelf, scope, (*held, *merged))
        try:
            await owners.claim(desk, scope, caller, _unowned(caller, models, owned))
        except RevisionConflict:
            continue  # another service was first
        if not merged or await _put(desk, caller, scope, merged, held):
            return bool(merged)
    raise _busy()


async def replace(desk: Desk, caller: Caller, scope: Scope, models: Sequence[BusinessModel]) -> bool:
    """Put models in the place of those that are held, whatever these say; tell whether anything changed."""
    for _ in range(ATTEMPTS):
        held, owned = await _known(desk, scope)
        changed = [model for model in models if model not in held]
        await remember(desk.shelf, scope, (*held, *changed))
        if not changed or await _put(desk, caller, scope, changed, held):
            await owners.claim(desk, scope, caller, _unowned(caller, models, owned))
            return bool(changed)
    raise _busy()


async def check(desk: Desk, caller: Caller, scope: Scope, models: Sequence[BusinessModel]) -> dict[str, BusinessModel]:
    """Give every model of a scope, by name, as it would be with some more; raises what ``declare`` raises."""
    held, owned = await _known(desk, scope)
    merged = _merged(caller, scope, models, held, owned)
    return {model.name: model for model in (*held, *merged)}


async def _known(desk: Desk, scope: Scope) -> tuple[tuple[BusinessModel, ...], Owned]:
    await desk.shelf.read(scope, owners.KIND)
    return await desk.store.models(scope), await owners.owners_of(desk.shelf, scope)


def _merged(
    caller: Caller, scope: Scope, models: Sequence[BusinessModel], held: Sequence[BusinessModel], owned: Owned
) -> tuple[BusinessModel, ...]:
    """Give the models as they are to be stored, without those of which nothing changes."""
    known = {model.name: model for model in held}
    for model in models:
        _require_owner(caller, scope, known.get(model.name), model, owned.get(model.name, ()))
        _require_eraser(caller, scope, known.get(model.name), model, owned.get(model.name, ()))
    new = [model for model in models if model.name not in known or additions(known[model.name], model)]
    return merge_all(held, new)


def _require_owner(
    caller: Caller, scope: Scope, held: BusinessModel | None, declared: BusinessModel, of: Sequence[str]
) -> None:
    """Raise a 403 where a service says more of a model than its owners declared."""
    added = [f"{declared.name} is not declared yet"] if held is None else additions(held, declared)
    if added and caller.service and of and not {caller.service, "*"} & {*of}:
        verb = command(f"mcpctl model own {declared.name} --service {caller.service}", scope)
        raise Fault(
            403,
            "not-owner",
            f"{caller.service!r} does not own the model {declared.name!r}: {', '.join(of)} does, and declares it "
            f"otherwise: {'; '.join(added)}. Declare no more than the owner, or have an operator say: {verb}",
            owners=list(of),
        )


def _require_eraser(
    caller: Caller, scope: Scope, held: BusinessModel | None, declared: BusinessModel, of: Sequence[str]
) -> None:
    """Raise a 403 where what was kept for ever would be erased, unless an owner says so, or an operator."""
    shorter = held is not None and held.retention is None and declared.retention is not None
    if shorter and not _may_erase(caller, scope, of):
        raise Fault(
            403,
            "retention",
            f"the model {declared.name!r} is kept for ever, and with retention {declared.retention:g} its entities "
            f"would be erased. One of its owners declares that, or an operator: {', '.join(of) or 'nobody'} owns it",
        )


def _may_erase(caller: Caller, scope: Scope, of: Sequence[str]) -> bool:
    """Tell whether a caller may have entities erased: an owner by name, who becomes it now, and an operator."""
    own = bool(caller.service) and (caller.service in of or not of)
    return own or caller.may(Permission.OPERATE, scope, caller.service)


def _unowned(caller: Caller, models: Iterable[BusinessModel], owned: Owned) -> list[str]:
    return list(dict.fromkeys(model.name for model in models if caller.service and model.name not in owned))


async def _put(
    desk: Desk, caller: Caller, scope: Scope, models: Sequence[BusinessModel], held: Sequence[BusinessModel]
) -> bool:
    before = _digests(held)
    try:
        async with desk.auditor.change(caller, "models.declare", scope=scope, before=before) as change:
            await _store(desk, scope, models, held)
            change.after = before | _digests(models)
    except Fault:
        return False
    return True


async def _store(desk: Desk, scope: Scope, models: Sequence[BusinessModel], held: Sequence[BusinessModel]) -> None:
    if not await desk.store.put_models(scope, models, held=held):
        raise Fault(409, "outrun", "models were declared meanwhile; it is done again")


def _digests(models: Iterable[BusinessModel]) -> dict[str, str]:
    return {model.name: sha256(canonical(model.to_dict())).hexdigest() for model in models}


def _busy() -> StoreUnavailable:
    return StoreUnavailable("models are declared too often at once; nothing of this was stored")
