"""Taking a policy change through its stages: begun, advanced and stopped by people, driven by one replica of several.

See ``docs/decisions/0011-staged-rollouts.md``. Every step is audited.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from mcp_sdk.context import Scope
from mcp_sdk.exceptions import MeshError, RevisionConflict
from mcp_sdk.ports import Record
from mcp_sdk.rollout import Counts, Plan, Rollout, judge
from mcp_sdk.server import publishing, trials
from mcp_sdk.server.access.callers import Caller, Permission
from mcp_sdk.server.commands import command
from mcp_sdk.server.desk import Desk
from mcp_sdk.server.faults import Fault
from mcp_sdk.server.leases import Lease
from mcp_sdk.server.live import Live
from mcp_sdk.snapshot import PolicyRevision

__all__ = ["Driver", "advance", "approve", "begin", "reject", "require_reach", "running", "shown", "stop"]

logger = logging.getLogger("mcp_sdk.server")
MESH_ITSELF = Caller("mesh", key="mesh")
"""Who takes a step that nobody asked for, in the audit log."""
LEASE = 5.0


async def begin(
    desk: Desk, caller: Caller, scope: Scope, wanted: PolicyRevision, plan: Plan, *, approved: str = ""
) -> Rollout:
    """Begin the rollout of a checked policy set; raises a 409 where another one runs, and ``RevisionConflict``.

    ``approved`` is who approved it, where somebody did.
    """
    record, last = await trials.held(desk.store, scope)
    if last is not None and last.running:
        raise Fault(409, "rollout-runs", f"the rollout {last.id} by {last.author!r} runs. Stop it first")
    await publishing.replaced(desk, scope, wanted.revision)
    now = datetime.now(UTC).isoformat()
    made = Rollout(f"r-{secrets.token_hex(5)}", wanted.author, wanted.revision, plan, since=now, approved=approved)
    async with desk.auditor.change(caller, "rollout.begin", scope=scope, target=made.id) as change:
        await trials.clear(desk.store, scope)
        await trials.put_candidate(desk.store, scope, made.id, wanted, key=caller.key, makers=caller.makers)
        await trials.keep(desk.store, scope, made, record)
        change.after = made.to_dict()
    await (await desk.known(scope)).learn_policies()
    return made


async def shown(desk: Desk, scope: Scope) -> dict[str, Any]:
    """Give the last rollout as plain JSON, with the counts of its stage so far and what it waits for."""
    _, rollout = await trials.held(desk.store, scope)
    if rollout is None or not rollout.running:
        return {"rollout": None if rollout is None else rollout.to_dict()}
    counts = await trials.total(desk.store, scope, rollout)
    waits = rollout.reason if rollout.held else judge(rollout, counts, datetime.now(UTC)).reason
    return {"rollout": rollout.to_dict(), "counts": counts.to_dict(), "waits_for": waits}


async def running(desk: Desk, scope: Scope) -> tuple[Record, Rollout]:
    """Give the rollout that runs; raises a 404 where none does."""
    record, rollout = await trials.held(desk.store, scope)
    if record is None or rollout is None or not rollout.running:
        raise Fault(404, "no-rollout", f"no rollout runs in {scope.namespace}/{scope.environment}")
    return record, rollout


async def stop(desk: Desk, caller: Caller, scope: Scope, reason: str) -> Rollout:
    """Stop the rollout that runs; what is in force stays. Raises a 404."""
    record, rollout = await running(desk, scope)
    counts = await trials.total(desk.store, scope, rollout)
    return await _end(desk, caller, scope, record, rollout.ended("stopped", reason, counts))


async def advance(desk: Desk, caller: Caller, scope: Scope) -> Rollout:
    """Take the rollout that runs to its next stage now; the last one puts the candidate in force. Raises a 404.

    Where a second person has to approve it and did not, it is held, and stays in its stage.
    """
    record, rollout = await running(desk, scope)
    return await _advance(desk, caller, scope, record, rollout, await trials.total(desk.store, scope, rollout))


async def require_reach(desk: Desk, caller: Caller, scope: Scope) -> tuple[Record, Rollout]:
    """Give the rollout that runs; raises a 403 unless the caller may apply what it is to put in force, and a 404."""
    caller.require_some(Permission.APPLY, scope)
    record, rollout = await running(desk, scope)
    wanted = await trials.candidate_of(desk.store, scope, rollout.id)
    stored = await desk.store.policies(scope)
    both = [{} if one is None else one.programs for one in (stored, wanted)]
    publishing.require_reach(caller, scope, *both)
    return record, rollout


async def approve(desk: Desk, caller: Caller, scope: Scope, change: publishing.Pending) -> Rollout:
    """Have a rollout that is held go on; raises a 403, and a 404 where it does not run any more."""
    record, rollout = await require_reach(desk, caller, scope)
    if rollout.id != change.rollout:
        raise Fault(404, "no-rollout", f"the rollout {change.rollout} is over; {rollout.id} runs now")
    go = rollout.approved_by(caller.name)
    async with desk.auditor.change(caller, "rollout.approve", scope=scope, target=rollout.id) as audited:
        await trials.keep(desk.store, scope, go, record)
        audited.after = {"author": go.author}
    await publishing.dismiss(desk, scope, change)
    await (await desk.hub.scope(scope)).learn_policies()
    return go


async def reject(desk: Desk, caller: Caller, scope: Scope, change: publishing.Pending) -> None:
    """Stop a rollout that is held, unless it is over already; raises a 403."""
    _, rollout = await trials.held(desk.store, scope)
    if rollout is not None and rollout.running and rollout.id == change.rollout:
        await require_reach(desk, caller, scope)
        await stop(desk, caller, scope, f"{caller.name} rejected {change.id}")


async def _advance(
    desk: Desk, caller: Caller, scope: Scope, record: Record, rollout: Rollout, counts: Counts
) -> Rollout:
    """Take a step that puts more in force, unless a protection that was not there before holds it."""
    try:
        held = await _held(desk, caller, scope, record, rollout)
    except RevisionConflict as error:
        return await overtaken(desk, caller, scope, record, rollout, error.actual)
    if held is not None:
        return held
    if rollout.held:
        await publishing.withdraw(desk, scope, rollout.id)  # the protection was lifted
    if rollout.last:
        return await _finish(desk, caller, scope, record, rollout, counts)
    further, before = rollout.further(datetime.now(UTC), counts), str(rollout.at)
    async with desk.auditor.change(caller, "rollout.advance", scope=scope, target=rollout.id, before=before) as change:
        await trials.keep(desk.store, scope, further, record)
        change.after = str(further.at)
    await (await desk.hub.scope(scope)).learn_policies()
    return further


async def _held(desk: Desk, caller: Caller, scope: Scope, record: Record, rollout: Rollout) -> Rollout | None:
    """Hold a rollout where a kind that it changes is protected and nobody approved it; None where it may go on."""
    wanted = None if rollout.approved else await trials.candidate_of(desk.store, scope, rollout.id)
    kinds = () if wanted is None else await publishing.waiting(desk, scope, wanted)
    if wanted is None or not kinds:
        return None
    said = {"rollout": rollout.id, "author": rollout.author, **await trials.begun_by(desk.store, scope, rollout.id)}
    change = await publishing.propose_rollout(desk, caller, scope, wanted, kinds, said)
    if rollout.held:
        return rollout
    verb = command(f"mcpctl approve {change.id}", scope)
    reason = f"{', '.join(kinds)} needs a second approver here. Somebody else does it with: {verb}"
    holding = rollout.holding(reason)
    async with desk.auditor.change(caller, "rollout.hold", scope=scope, target=rollout.id) as audited:
        await trials.keep(desk.store, scope, holding, record)
        audited.after = {"change": change.id, "kinds": list(kinds)}
    logger.info("the rollout %s in %s is held: %s", rollout.id, scope, reason)
    return holding


async def _finish(
    desk: Desk, caller: Caller, scope: Scope, record: Record, rollout: Rollout, counts: Counts
) -> Rollout:
    """Put the candidate in force, as any other policy set: where somebody published meanwhile, it is superseded."""
    wanted = await trials.candidate_of(desk.store, scope, rollout.id)
    if wanted is None:
        return await _end(desk, caller, scope, record, rollout.ended("stopped", "its candidate is gone", counts))
    try:
        before = {"revision": rollout.base}
        async with desk.auditor.change(caller, "policies.apply", scope=scope, before=before) as change:
            stored = await desk.store.put_policies(scope, replace(wanted, author=rollout.author))
            change.after = {"revision": stored.revision, "rollout": rollout.id}
    except RevisionConflict as error:
        return await overtaken(desk, caller, scope, record, rollout, error.actual)
    return await _end(desk, caller, scope, record, rollout.ended("done", f"revision {stored.revision}", counts))


async def overtaken(desk: Desk, caller: Caller, scope: Scope, record: Record, rollout: Rollout, actual: int) -> Rollout:
    """End a rollout whose base is no longer in force: by its own last step, or by what somebody else put there."""
    counts = await trials.total(desk.store, scope, rollout)
    wanted = await trials.candidate_of(desk.store, scope, rollout.id)
    next_one = await desk.store.policies(scope, rollout.base + 1)
    if wanted is not None and next_one is not None and next_one.programs == wanted.programs:
        ended = rollout.ended("done", f"revision {next_one.revision}", counts)
    else:
        ended = rollout.ended("superseded", f"revision {actual} was put in force meanwhile", counts)
    return await _end(desk, caller, scope, record, ended)


async def _end(desk: Desk, caller: Caller, scope: Scope, record: Record, ended: Rollout) -> Rollout:
    async with desk.auditor.change(caller, f"rollout.{ended.status}", scope=scope, target=ended.id) as change:
        await trials.keep(desk.store, scope, ended, record)
        change.after = {"reason": ended.reason, "counts": ended.history[-1].to_dict()}
    logger.info("the rollout %s in %s is %s: %s", ended.id, scope, ended.status, ended.reason)
    await (await desk.hub.scope(scope)).learn_policies()
    await trials.clear(desk.store, scope)
    await publishing.withdraw(desk, scope, ended.id)
    return ended


class Driver:
    """Drives the rollouts of the scopes that this replica knows, every ``interval`` seconds, where it has the lease."""

    def __init__(self, desk: Desk, *, interval: float) -> None:
        self._desk, self._interval = desk, interval
        self._name = secrets.token_hex(8)
        self._leases: dict[Scope, Lease] = {}
        self._counting: dict[Scope, trials.Counting] = {}

    async def run(self) -> None:
        """Go on until cancelled; what cannot be done now is done the next time."""
        while True:
            await asyncio.sleep(self._interval)
            for live in self._desk.hub.scopes:
                try:
                    await self._look(live)
                except RevisionConflict:
                    logger.debug("another replica was faster with the rollout of %s", live.scope)
                except MeshError as error:
                    logger.warning("the rollout of %s waits: %s", live.scope, error)
                except Exception:
                    logger.exception("the rollout of %s waits", live.scope)

    async def _look(self, live: Live) -> None:
        rollout, taken = live.rollout, live.tally.take()
        if rollout is None or not rollout.running:
            return
        counting = self._counting.setdefault(live.scope, trials.Counting(self._desk.store, live.scope, self._name))
        await counting.add(taken, rollout)
        lease = self._leases.setdefault(
            live.scope, Lease(self._desk.store, f"rollout {'/'.join(live.scope)}", self._name, ttl=LEASE)
        )
        if await lease.take():
            await self._drive(live)

    async def _drive(self, live: Live) -> None:
        desk, scope = self._desk, live.scope
        record, rollout = await trials.held(desk.store, scope)
        if record is None or rollout is None or not rollout.running:
            return
        in_force = live.decider.snapshot.revision
        if in_force > rollout.base:
            await overtaken(desk, MESH_ITSELF, scope, record, rollout, in_force)
            return
        counts = await trials.total(desk.store, scope, rollout)
        step = judge(rollout, counts, datetime.now(UTC))
        if step.what == "stop":
            await _end(desk, MESH_ITSELF, scope, record, rollout.ended("stopped", step.reason, counts))
        elif step.what == "advance":
            await _advance(desk, MESH_ITSELF, scope, record, rollout, counts)
