"""Putting a policy set in force: checked, audited, and by two people where the environment asks for it."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

from mcp_sdk.context import Scope
from mcp_sdk.exceptions import RevisionConflict
from mcp_sdk.models import BusinessModel
from mcp_sdk.policy import compile_policies, require_namespace
from mcp_sdk.ports import Record
from mcp_sdk.server import declaring
from mcp_sdk.server.access.callers import Caller, Permission
from mcp_sdk.server.desk import Desk
from mcp_sdk.server.faults import Fault
from mcp_sdk.snapshot import PolicyRevision

__all__ = [
    "CHANGE",
    "PROTECTION",
    "Pending",
    "checked",
    "dismiss",
    "pending",
    "propose",
    "propose_lift",
    "propose_rollout",
    "publish",
    "replaced",
    "require_another",
    "require_reach",
    "waiting",
    "withdraw",
]

CHANGE, PROTECTION = "change", "protection"
"""Kinds of records."""
MOST = 20
"""Changes of one scope that wait; each holds a whole policy set."""
LIFESPAN = 7 * 86_400.0
"""Seconds for which a change waits for its approval."""


@dataclass(frozen=True)
class Pending:
    """A policy set, the lift of a protection, or a rollout that is held: it waits for somebody else.

    Times are in seconds since the epoch.
    """

    id: str
    content: Mapping[str, Any]
    record: Record

    @property
    def expired(self) -> bool:
        """Whether it waited too long."""
        return float(self.content["expires_at"]) <= time.time()

    @property
    def lifts(self) -> str:
        """The kind of policy that is to be protected no longer; empty for a policy set."""
        return str(self.content.get("lifts", ""))

    @property
    def rollout(self) -> str:
        """The id of the rollout that is held; empty for what did not begin yet."""
        return str(self.content.get("rollout", ""))

    def shown(self) -> dict[str, Any]:
        """Give it as plain JSON."""
        names = ("author", "replaces", "kinds", "sources", "created_at", "expires_at")
        said = {name: self.content[name] for name in names}
        more = {"models": self.content.get("models", []), "plan": self.content.get("plan")}
        return {"id": self.id, "lifts": self.lifts, "rollout": self.rollout, **more, **said}


async def checked(
    desk: Desk,
    caller: Caller,
    scope: Scope,
    sources: Mapping[str, str],
    base: int,
    models: Sequence[BusinessModel] = (),
) -> PolicyRevision:
    """Compile files into the revision after ``base``, against the models that are declared and ``models``.

    Raises ``PolicyError``, ``ModelError``, ``RevisionConflict`` where the store holds another one, and a 403 unless the
    caller may declare the models, and apply for each service of which a policy is added, changed or left out.
    """
    caller.require_some(Permission.APPLY, scope)
    if models:
        caller.require(Permission.DECLARE, scope, caller.service)
    await desk.known(scope)
    before = _programs(await replaced(desk, scope, base))
    known = await declaring.check(desk, caller, scope, models)
    async with desk.compiling:
        programs = await asyncio.to_thread(compile_policies, sources, known, namespace=scope.namespace)
    require_namespace(programs, scope.namespace)
    require_reach(caller, scope, before, programs)
    return PolicyRevision(base, programs, sources, caller.name, models=tuple(models))


async def publish(desk: Desk, caller: Caller, scope: Scope, wanted: PolicyRevision) -> PolicyRevision:
    """Declare the models of a checked revision, and put it in force; raises ``RevisionConflict``.

    Models first, for policies must not be in force without what they are about; where somebody publishes in between the
    models stay, and only add.
    """
    before = await replaced(desk, scope, wanted.revision)
    if wanted.models:
        await declaring.declare(desk, caller, scope, wanted.models)
    said = None if before is None else _summary(before)
    async with desk.auditor.change(caller, "policies.apply", scope=scope, before=said) as change:
        stored = await desk.store.put_policies(scope, replace(wanted, models=()))
        change.after = _summary(stored)
    await (await desk.known(scope)).learn_policies()
    return stored


async def waiting(desk: Desk, scope: Scope, wanted: PolicyRevision) -> tuple[str, ...]:
    """Give the protected kinds of policy whose effect a revision changes; raises ``RevisionConflict``."""
    protected = {record.name for record in await desk.store.records(scope, PROTECTION)}
    if not protected:
        return ()
    before = _programs(await replaced(desk, scope, wanted.revision))
    return tuple(sorted(kind for kind in protected if _effect(before, kind) != _effect(wanted.programs, kind)))


async def propose(
    desk: Desk,
    caller: Caller,
    scope: Scope,
    wanted: PolicyRevision,
    kinds: Iterable[str],
    plan: Mapping[str, Any] | None = None,
) -> Pending:
    """Keep a policy set until somebody else approves it; with a ``plan`` it is then rolled out in stages."""
    content = {"sources": dict(wanted.sources), "replaces": wanted.revision, "kinds": list(kinds)}
    content |= {"models": [model.to_dict() for model in wanted.models]}
    content |= {} if plan is None else {"plan": dict(plan)}
    said = {"replaces": wanted.revision, "sources": _digests(wanted.sources)}
    return await _keep(desk, caller, scope, content, said)


async def propose_lift(desk: Desk, caller: Caller, scope: Scope, kind: str) -> Pending:
    """Keep the lift of a protection until somebody else approves it: else one person could lift, apply and protect."""
    content = {"sources": {}, "replaces": 0, "kinds": [kind], "lifts": kind}
    return await _keep(desk, caller, scope, content, {"lifts": kind})


async def propose_rollout(
    desk: Desk,
    caller: Caller,
    scope: Scope,
    wanted: PolicyRevision,
    kinds: Iterable[str],
    rollout: Mapping[str, Any],
) -> Pending:
    """Have a rollout wait until somebody else than its author approves it; there is no more than one of a scope.

    ``rollout`` holds its id, as ``rollout``, and ``author``, ``key`` and ``makers`` of who began it.
    """
    name = change_of(rollout["rollout"])
    found = await desk.shelf.record(scope, CHANGE, name)
    if found is not None:
        waits = Pending(name, found.content, found)
        if not waits.expired:
            return waits
        await dismiss(desk, scope, waits)
    content = {"sources": dict(wanted.sources), "replaces": wanted.revision, "kinds": list(kinds), **rollout}
    return await _keep(desk, caller, scope, content, {"rollout": rollout["rollout"]}, name)


def change_of(rollout: str) -> str:
    """Give the name of the change by which a rollout waits: two replicas that hold it at once make one."""
    return f"c-{rollout[2:]}"


async def withdraw(desk: Desk, scope: Scope, rollout: str) -> None:
    """Forget the change by which a rollout waited, where there is one."""
    found = await desk.shelf.record(scope, CHANGE, change_of(rollout))
    if found is not None:
        with suppress(RevisionConflict):  # another replica was first
            await desk.shelf.delete(scope, found)


async def _keep(
    desk: Desk, caller: Caller, scope: Scope, content: Mapping[str, Any], said: Any, name: str = ""
) -> Pending:
    if not name:
        await _make_room(desk, scope)
    now = time.time()
    who = {"author": caller.name, "key": caller.key, "makers": list(caller.makers)}
    content = {**who, **content, "created_at": now, "expires_at": now + LIFESPAN}
    record = Record(CHANGE, name or f"c-{secrets.token_hex(5)}", content)
    async with desk.auditor.change(caller, "policies.propose", scope=scope, target=record.name) as change:
        stored = await desk.shelf.put(scope, record)
        change.after = said
    return Pending(record.name, content, stored)


async def _make_room(desk: Desk, scope: Scope) -> None:
    """Forget changes that waited too long; raises a 409 where too many wait."""
    waits = [Pending(one.name, one.content, one) for one in await desk.store.records(scope, CHANGE)]
    for each in waits:
        if each.expired:
            with suppress(RevisionConflict):  # another replica was first
                await dismiss(desk, scope, each)
    if sum(not each.expired for each in waits) >= MOST:
        raise Fault(409, "too-many-changes", f"{MOST} changes wait for an approval already; approve or reject some")


async def pending(desk: Desk, scope: Scope, name: str) -> Pending:
    """Give a change that waits; raises a 404, and a 409 for one that waited too long."""
    record = await desk.shelf.record(scope, CHANGE, name)
    if record is None:
        raise Fault(404, "unknown-change", f"no change {name!r:.60} waits in {scope.namespace}/{scope.environment}")
    found = Pending(name, record.content, record)
    if found.expired:
        raise Fault(409, "expired", f"the change {name} waited for more than {LIFESPAN / 86_400:g} days; apply it anew")
    return found


async def dismiss(desk: Desk, scope: Scope, change: Pending) -> None:
    """Forget a change."""
    await desk.shelf.delete(scope, change.record)


def require_another(caller: Caller, change: Pending) -> None:
    """Raise a 403 where the approver is the author, made the author's token, or had its own made by the author."""
    author, makers = change.content["key"], change.content["makers"]
    if caller.key == author or author in caller.makers or caller.key in makers:
        raise Fault(
            403,
            "same-person",
            f"{change.content['author']!r} made this change, and {caller.name!r} is the same, or made its token. "
            "Somebody else must approve it",
        )


def _effect(programs: Mapping[str, Any], kind: str) -> list[str]:
    """Give the digests of the policies of a kind; each is over all that a policy says."""
    return sorted(each["digest"] for each in _policies(programs) if each["kind"] == kind)


def _policies(programs: Mapping[str, Any]) -> list[Any]:
    return list(programs.get("policies", ()))


def require_reach(caller: Caller, scope: Scope, before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    """Raise a 403 unless the caller may apply for each service of which a policy is in one of two programs only."""
    caller.require_some(Permission.APPLY, scope)
    old, new = [{(each["service"], each["digest"]) for each in _policies(programs)} for programs in (before, after)]
    caller.require_all(Permission.APPLY, scope, sorted({service for service, _ in old ^ new}))


async def replaced(desk: Desk, scope: Scope, base: int) -> PolicyRevision | None:
    """Give the revision that is to be replaced, as the store holds it; raises ``RevisionConflict`` unless it is that.

    What a number names never changes, so whoever looks at it again sees the same.
    """
    stored = await desk.store.policies(scope)
    actual = 0 if stored is None else stored.revision
    if actual != base:
        raise RevisionConflict("policies", expected=base, actual=actual)
    return stored


def _programs(revision: PolicyRevision | None) -> Mapping[str, Any]:
    return {} if revision is None else revision.programs


def _summary(revision: PolicyRevision) -> dict[str, Any]:
    return {"revision": revision.revision, "sources": _digests(revision.sources)}


def _digests(sources: Mapping[str, str]) -> dict[str, str]:
    return {name: sha256(text.encode()).hexdigest() for name, text in sources.items()}
