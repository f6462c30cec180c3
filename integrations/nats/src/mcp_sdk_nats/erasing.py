"""Forgetting for good: what an entity's rows say is overwritten in the log, and what stood beside them is kept.

First a note goes into the log, which every handle obeys; it lists the messages that hold rows of the entity. Then each
of them is replaced: what it says of others is put into the state, and the message itself is overwritten. At last a
second note says that this is done; until then any handle may go on with it. The first note, in which model and id
stand, is itself overwritten after a day.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from mcp_sdk.context import EntityRef, Scope
from mcp_sdk.ports import Receipt
from mcp_sdk.stores.ledger import EntityKey
from mcp_sdk_nats import checkpoints
from mcp_sdk_nats.events import DAY
from mcp_sdk_nats.failures import Behind
from mcp_sdk_nats.messages import TRANSITIONS, Batch, Entry, Note, key_of, pack, unpack
from mcp_sdk_nats.replica import Draft, Replica
from mcp_sdk_nats.view import View

__all__ = ["chain", "finish", "forget", "retain", "trim"]

GROUP = 50


@dataclass(slots=True)
class _Found:
    """The rows of an entity: in which messages, how many, and of what moments."""

    sequences: list[int] = field(default_factory=list)
    rows: int = 0


async def chain(replica: Replica, key: EntityKey, *, limit: int | None = None) -> list[tuple[int, float, list[Entry]]]:
    """Give the messages that hold rows of an entity, newest first: sequence, moment, rows; ``limit`` rows and more."""
    line = replica.view.line(key)
    sequence, rows, found = line.last if line else 0, 0, list[tuple[int, float, list[Entry]]]()
    while sequence and (limit is None or rows < limit):
        message = await replica.message(sequence)
        entries = [e for e in message.entries if e and key_of(e) == key] if isinstance(message, Batch) else []
        if not entries:
            break  # what came before a message that was erased was erased too
        found.append((sequence, message.at if message else 0.0, entries))
        rows += len(entries)
        sequence = entries[0].before
    return found


async def forget(replica: Replica, scope: Scope, ref: EntityRef) -> Receipt:
    """Erase an entity; see ``Store.forget``."""
    key = (*scope, *ref)
    while True:
        view = await replica.fresh()
        line = view.line(key)
        rows = await chain(replica, key)
        if line is None:
            return Receipt(ref, 0, 0)
        entity = [*ref, True, line.last, [sequence for sequence, _, _ in rows], _events(rows, replica.now())]
        if await _note(replica, scope, [entity]):
            await finish(replica)
            return Receipt(ref, int(line.context is not None), sum(len(entries) for _, _, entries in rows))


def _events(rows: Sequence[tuple[int, float, list[Entry]]], now: float) -> list[tuple[str, str, int]]:
    """Give the events of a day in some rows, and what became of them, which outlive the rows."""
    kept = (entry.applied for _, at, entries in rows if at > now - DAY for entry in entries)
    return [(each.transition.event_id, each.status.value, each.context.revision) for each in kept]


async def _note(replica: Replica, scope: Scope, entities: Sequence[list[Any]]) -> bool:
    """Publish what is to be erased, if none of it changed since it was looked up; tell whether."""

    def draft(view: View, now: float) -> Draft[bool]:
        for model, entity_id, whole, until, *_ in entities:
            line = view.line((*scope, model, entity_id))
            if line is None or (line.last != until if whole else line.context is not None):
                return Draft(None, False)
        return Draft(Note(now, "forgotten", scope, {"entities": list(entities)}), True)

    return await replica.commit(draft)


async def retain(replica: Replica, scope: Scope, model: str, before: float) -> int:
    """Erase what has not changed since a moment of the server's clock; see ``Store.retain``."""
    view = await replica.fresh()
    lines = view.kind(scope, model).lines
    old = [entity_id for entity_id, line in lines.items() if line.changed < before]
    erased = 0
    for start in range(0, len(old), GROUP):
        erased += await _retain(replica, scope, model, old[start : start + GROUP], before)
        await finish(replica)
    return erased


async def _retain(replica: Replica, scope: Scope, model: str, ids: Sequence[str], before: float) -> int:
    while True:
        view = await replica.fresh()
        every = view.kind(scope, model).lines
        lines = {name: every[name] for name in ids if name in every and every[name].changed < before}
        held = [name for name, line in lines.items() if line.context]
        loose = [name for name, line in lines.items() if not line.context]
        rows = await asyncio.gather(*(chain(replica, (*scope, model, name)) for name in (*held, *loose)))
        entities: list[list[Any]] = []
        for name, found in zip((*held, *loose), rows, strict=True):
            of_context = name in held
            gone = [message for message in found if of_context or message[1] < before]
            sequences = [sequence for sequence, _, _ in gone]
            if of_context or sequences:
                until = lines[name].last if of_context else max(sequences)
                entities.append([model, name, of_context, until, sequences, _events(gone, replica.now())])
        if not entities or await _note(replica, scope, entities):
            return len(held)


async def finish(replica: Replica) -> None:
    """Overwrite what notes say is to be erased, ours and those of handles that did not come to it."""
    for sequence, note in list(replica.view.erasing.items()):
        await _erase(replica, note)
        await replica.commit(lambda view, now, done=sequence: _done(view, now, done), fresh=False)  # type: ignore[misc]


def _done(view: View, now: float, sequence: int) -> Draft[None]:
    if sequence not in view.erasing:
        return Draft(None, None)
    return Draft(Note(now, "erased", Scope(), {"notes": [sequence]}), None)


async def _erase(replica: Replica, note: Note) -> None:
    keys: dict[int, set[EntityKey]] = {}
    for model, entity_id, _, _, sequences, _ in note.content["entities"]:
        for sequence in sequences:
            keys.setdefault(sequence, set()).add((*note.scope, model, entity_id))
    for start in range(0, len(keys), GROUP):
        part = list(keys.items())[start : start + GROUP]
        await asyncio.gather(*(_without(replica, sequence, gone) for sequence, gone in part))
    await checkpoints.without(await replica.streams(), note)


async def _without(replica: Replica, sequence: int, gone: Iterable[EntityKey]) -> None:
    """Put a message without some rows into its place, and overwrite it."""
    streams, key = await replica.streams(), f"r{sequence}"
    while True:
        replaced = await streams.look(key)
        raw = replaced or await streams.get(sequence)
        if raw is None:
            return
        message = unpack(TRANSITIONS, raw.body)
        assert isinstance(message, Batch)
        kept = Batch(message.at, [None if e is None or key_of(e) in gone else e for e in message.entries])
        newest = replaced.sequence if replaced else 0
        try:
            if any(kept.entries) and kept.entries != message.entries:
                newest = await streams.put(key, pack(kept), after=newest)
        except Behind:
            continue
        await streams.erase(sequence)
        await streams.clear(key, before=newest if any(kept.entries) else newest + 1)
        return


async def trim(replica: Replica) -> None:
    """Overwrite the notes that are older than a day, and whose work is done."""
    view = replica.view
    old = [s for s, at in view.notices.items() if at < replica.now() - DAY and s not in view.erasing]
    if not old:
        return
    until = max(old)

    def draft(view: View, now: float) -> Draft[None]:
        if view.trimmed >= until:
            return Draft(None, None)
        return Draft(Note(now, "trimmed", Scope(), {"until": until}), None)

    await replica.commit(draft)
    streams = await replica.streams()
    await asyncio.gather(*(streams.erase(sequence) for sequence in old))
