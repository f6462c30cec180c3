"""Putting a policy set in force: checked, audited, and by two people where the environment asks for it."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from mcp_sdk.context import Scope
from mcp_sdk.exceptions import RevisionConflict
from mcp_sdk.policy import compile_policies, require_namespace
from mcp_sdk.ports import Record
from mcp_sdk.server.callers import Caller, Permission
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
    "publish",
    "require_another",
    "waiting",
]

CHANGE, PROTECTION = "change", "protection"
"""Kinds of records."""
MOST = 20
"""Changes of one scope that wait; each holds a whole policy set."""
LIFESPAN = 7 * 86_400.0
"""Seconds for which a change waits for its approval."""


@dataclass(frozen=True)
class Pending:
    """A policy set that waits for somebody else's approval. Times are in seconds since the epoch."""

    id: str
    content: Mapping[str, Any]
    record: Record

    @property
    def expired(self) -> bool:
        """Whether it waited too long."""
        return float(self.content["expires_at"]) <= time.time()

    def shown(self) -> dict[str, Any]:
        """Give it as plain JSON."""
        names = ("author", "replaces", "kinds", "sources", "created_at", "expires_at")
        return {"id": self.id, **{name: self.content[name] for name in names}}


async def checked(desk: Desk, caller: Caller, scope: Scope, sources: Mapping[str, str], base: int) -> PolicyRevision:
    """Compile files into the next revision; raises ``PolicyError``, and a 403 beyond the caller's reach."""
    caller.require_some(Permission.APPLY, scope)
    live = await desk.known(scope)
    async with desk.compiling:
        programs = await asyncio.to_thread(compile_policies, sources, dict(live.models), namespace=scope.namespace)
    require_namespace(programs, scope.namespace)
    stored = await desk.store.policies(scope)
    policies = [*_policies(programs), *_policies({} if stored is None else stored.programs)]
    caller.require_all(Permission.APPLY, scope, [each["service"] for each in policies] or [""])
    return PolicyRevision(base, programs, sources, caller.name)


async def publish(desk: Desk, caller: Caller, scope: Scope, wanted: PolicyRevision) -> PolicyRevision:
    """Put a checked revision in force; raises ``RevisionConflict``."""
    before = await _state(desk, scope)
    async with desk.auditor.change(caller, "policies.apply", scope=scope, before=before) as change:
        stored = await desk.store.put_policies(scope, wanted)
        change.after = _summary(stored)
    await (await desk.known(scope)).learn_policies()
    return stored


async def waiting(desk: Desk, scope: Scope, wanted: PolicyRevision) -> tuple[str, ...]:
    """Give the protected kinds of policy whose effect a revision changes."""
    protected = {record.name for record in await desk.store.records(scope, PROTECTION)}
    if not protected:
        return ()
    stored = await desk.store.policies(scope)
    before = {} if stored is None else stored.programs
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
    await _make_room(desk, scope)
    now = time.time()
    content = {
        "author": caller.name,
        "key": caller.key,
        "makers": list(caller.makers),
        "sources": dict(wanted.sources),
        "replaces": wanted.revision,
        "kinds": list(kinds),
        "created_at": now,
        "expires_at": now + LIFESPAN,
        **({} if plan is None else {"plan": dict(plan)}),
    }
    record = Record(CHANGE, f"c-{secrets.token_hex(5)}", content)
    said = {"replaces": wanted.revision, "sources": _digests(wanted.sources)}
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


async def _state(desk: Desk, scope: Scope) -> dict[str, Any] | None:
    stored = await desk.store.policies(scope)
    return None if stored is None else _summary(stored)


def _summary(revision: PolicyRevision) -> dict[str, Any]:
    return {"revision": revision.revision, "sources": _digests(revision.sources)}


def _digests(sources: Mapping[str, str]) -> dict[str, str]:
    return {name: sha256(text.encode()).hexdigest() for name, text in sources.items()}
