"""A rollout as the store holds it: one record that says how far it is, one with the candidate, one of counts a replica.

Everything is compare-and-set, so two replicas that drive one rollout do each step once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from mcp_sdk.context import Scope
from mcp_sdk.exceptions import ProtocolError, RevisionConflict
from mcp_sdk.ports import Record, Store
from mcp_sdk.rollout import Counts, Rollout
from mcp_sdk.snapshot import PolicyRevision

__all__ = ["CANDIDATE", "COUNTS", "ROLLOUT", "Counting", "clear", "held", "keep", "programs_of", "rollout_of", "total"]

ROLLOUT, CANDIDATE, COUNTS = "rollout", "candidate", "rollout-counts"
"""Kinds of records."""
NAME = "policies"
"""The name of the one rollout of a scope."""


async def held(store: Store, scope: Scope) -> tuple[Record | None, Rollout | None]:
    """Give the record of the scope's last rollout and what it says; raises ``ProtocolError`` for one we cannot read."""
    found = next((each for each in await store.records(scope, ROLLOUT) if each.name == NAME), None)
    return found, None if found is None else Rollout.from_dict(found.content)


async def rollout_of(store: Store, scope: Scope) -> Rollout | None:
    """Give the scope's last rollout, running or not."""
    return (await held(store, scope))[1]


async def keep(store: Store, scope: Scope, rollout: Rollout, before: Record | None) -> Record:
    """Write how far a rollout is; raises ``RevisionConflict`` where somebody else was faster."""
    revision = 0 if before is None else before.revision
    return await store.put_record(scope, Record(ROLLOUT, NAME, rollout.to_dict(), revision))


async def candidate_of(store: Store, scope: Scope, rollout: str) -> PolicyRevision | None:
    """Give the policy set that a rollout is to put in force, as the revision that it is to replace."""
    found = next((each for each in await store.records(scope, CANDIDATE) if each.name == rollout), None)
    if found is None:
        return None
    content = found.content
    return PolicyRevision(int(content["base"]), content["programs"], content["sources"], str(content["author"]))


async def programs_of(store: Store, scope: Scope, rollout: str) -> Mapping[str, Any] | None:
    """Give the programs of a rollout's candidate."""
    found = await candidate_of(store, scope, rollout)
    return None if found is None else found.programs


async def begun_by(store: Store, scope: Scope, rollout: str) -> Mapping[str, Any]:
    """Give the ``key`` and the ``makers`` of who began a rollout, by which an approver is told from its author."""
    found = next((each for each in await store.records(scope, CANDIDATE) if each.name == rollout), None)
    content = {} if found is None else found.content
    return {"key": content.get("key", ""), "makers": content.get("makers", ())}


async def put_candidate(
    store: Store, scope: Scope, rollout: str, wanted: PolicyRevision, *, key: str, makers: Sequence[str]
) -> None:
    """Keep the policy set of a rollout that is to begin, and who begins it."""
    content = {
        "base": wanted.revision,
        "programs": dict(wanted.programs),
        "sources": dict(wanted.sources),
        "author": wanted.author,
        "key": key,
        "makers": list(makers),
    }
    await store.put_record(scope, Record(CANDIDATE, rollout, content))


async def clear(store: Store, scope: Scope) -> None:
    """Delete candidates and counts of rollouts that are over; what another replica deletes meanwhile is gone too."""
    for kind in (CANDIDATE, COUNTS):
        for record in await store.records(scope, kind):
            with suppress(RevisionConflict):
                await store.delete_record(scope, record)


async def total(store: Store, scope: Scope, rollout: Rollout) -> Counts:
    """Give the sum over replicas of what was counted of a rollout's stage."""
    counts = Counts()
    for record in await store.records(scope, COUNTS):
        if (record.content.get("rollout"), record.content.get("stage")) == (rollout.id, rollout.stage):
            with suppress(ProtocolError):
                counts += Counts.from_dict(record.content.get("counts"))
    return counts


class Counting:
    """What one replica counted of one scope's rollout, written to the store under the replica's name."""

    def __init__(self, store: Store, scope: Scope, replica: str) -> None:
        self._store, self._scope, self._replica = store, scope, replica
        self._of: tuple[str, int] = ("", 0)
        self._counts = Counts()
        self._record: Record | None = None
        self._writing = asyncio.Lock()

    async def add(self, taken: Mapping[tuple[str, int], Counts], rollout: Rollout) -> None:
        """Add what was counted of the stage that a rollout is in, and store the sum where it changed.

        What cannot be stored now stays in the sum. Raises ``StoreUnavailable``.
        """
        async with self._writing:
            of, more = (rollout.id, rollout.stage), taken.get((rollout.id, rollout.stage), Counts())
            if of != self._of:
                self._of, self._counts = of, Counts()
            self._counts += more
            if self._counts and (self._record is None or self._record.content != self._said()):
                await self._write()

    def _said(self) -> dict[str, Any]:
        rollout, stage = self._of
        return {"rollout": rollout, "stage": stage, "counts": self._counts.to_dict()}

    async def _write(self) -> None:
        revision = 0 if self._record is None else self._record.revision
        try:
            self._record = await self._store.put_record(
                self._scope, Record(COUNTS, self._replica, self._said(), revision)
            )
        except RevisionConflict:  # it was cleared
            self._record = await self._store.put_record(self._scope, Record(COUNTS, self._replica, self._said()))
