"""What a log says up to a sequence, kept in the state, so that a start need not read the whole log.

A checkpoint is a generation of parts: ``h`` everything but entities, ``e`` the events of the last day, ``b`` the
entities, spread by their id over so many parts that forgetting one rewrites a small one. Parts are written while the
log goes on, so they may be newer than the sequence; replaying a message that is in already changes nothing.

The key ``c`` names the generation in force, the one that is being written, and those to be overwritten. So nothing of
an entity is left anywhere that ``forget`` does not come to.
"""

from __future__ import annotations

import asyncio
import json
import uuid
import zlib
from array import array
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any

from mcp_sdk.context import Scope
from mcp_sdk.exceptions import StoreError
from mcp_sdk.models import BusinessModel
from mcp_sdk.ports import Record, SigningKey
from mcp_sdk.services import Endpoint
from mcp_sdk_nats.failures import Behind
from mcp_sdk_nats.messages import Note, encode, pack_context, unpack_context
from mcp_sdk_nats.replica import Replica
from mcp_sdk_nats.streams import Raw, Streams
from mcp_sdk_nats.view import Lease, Line, Shelf, View

__all__ = ["due", "restore", "without", "write"]

FORMAT = 1
ENTITIES, EVENTS = 1000, 2000
ABREAST = 16
LEAST = 32 * 2**20
GROWTH = 4
GIVEN_UP = 900.0
KEY = "c"


def due(replica: Replica) -> bool:
    """Tell whether the log has grown by so much that a checkpoint saves more than it costs."""
    return replica.grown > max(LEAST, GROWTH * replica.checkpointed)


async def restore(streams: Streams) -> tuple[View, int] | None:
    """Give the view of the newest checkpoint, and its size in bytes; None where there is none."""
    table, _ = await _table(streams)
    current = table["current"]
    if current is None:
        return None
    if current["format"] != FORMAT:
        raise StoreError(
            f"a checkpoint of format {current['format']} was written by another version; this one knows {FORMAT}. "
            "Upgrade it with: pip install -U mcp-sdk-nats"
        )
    view, size = View(streams.identity), 0
    names = _names(current)
    for start in range(0, len(names), ABREAST):
        found = await asyncio.gather(*(streams.look(name) for name in names[start : start + ABREAST]))
        for name, raw in zip(names[start : start + ABREAST], found, strict=True):
            if raw is None:
                raise StoreError(f"part {name} of a checkpoint is missing from the state of this mesh in NATS.")
            size += len(raw.body)
            _READ[name.rpartition("-")[2][0]](view, _unpacked(raw.body))
    return view, size


async def write(replica: Replica) -> bool:
    """Write a checkpoint of what the replica holds now; tell whether it is in force.

    It is not when another handle writes one, or wrote one in the meantime.
    """
    streams, view = await replica.streams(), replica.view
    replica.forgotten.clear()
    head = _packed(_head(view))
    sequence, count = view.sequence, sum(len(kind.lines) for kind in view.kinds.values())
    parts = {"h": 1, "e": -(-len(view.events) // EVENTS) or 1, "b": -(-count // ENTITIES) or 1}
    generation = {"format": FORMAT, "name": uuid.uuid4().hex, "sequence": sequence, "at": replica.now(), **parts}
    if not await _begin(streams, generation, replica.now()):
        return False
    size = await _put_all(streams, view, generation, head)
    if replica.view is not view or not await _put_in_force(streams, generation):
        return False
    replica.grown, replica.checkpointed = 0, size
    await replica.fresh()
    for note in list(replica.forgotten):
        await without(streams, note)
    await _sweep(streams, replica.now())
    return True


async def _begin(streams: Streams, generation: Mapping[str, Any], now: float) -> bool:
    table, before = await _table(streams)
    current, writing = table["current"], table["writing"]
    if writing and writing["at"] > now - GIVEN_UP:
        return False
    if current and current["sequence"] >= generation["sequence"]:
        return False
    garbage = [*table["garbage"], writing] if writing else table["garbage"]
    return await _save(streams, {**table, "writing": generation, "garbage": garbage}, before)


async def _put_in_force(streams: Streams, generation: Mapping[str, Any]) -> bool:
    while True:
        table, before = await _table(streams)
        if not table["writing"] or table["writing"]["name"] != generation["name"]:
            return False
        garbage = [*table["garbage"], *filter(None, [table["current"]])]
        if await _save(streams, {"current": generation, "writing": None, "garbage": garbage}, before):
            return True


async def _sweep(streams: Streams, now: float) -> None:
    """Overwrite the generations that are in force no more, and one whose writer was given up."""
    table, before = await _table(streams)
    garbage = list(table["garbage"])
    if (writing := table["writing"]) and writing["at"] <= now - GIVEN_UP:
        garbage, table["writing"] = [*garbage, writing], None
    if not garbage:
        return
    for generation in garbage:
        names = _names(generation)
        for start in range(0, len(names), ABREAST):
            await asyncio.gather(*(streams.clear(name) for name in names[start : start + ABREAST]))
    await _save(streams, {**table, "garbage": []}, before)


async def without(streams: Streams, note: Note) -> None:
    """Overwrite what the checkpoints hold of the entities that a note forgets."""
    table, _ = await _table(streams)
    if table["garbage"] or table["writing"]:
        await _sweep(streams, note.at)
    if (current := table["current"]) is None:
        return
    gone: dict[str, dict[tuple[str, ...], int]] = {}
    for model, entity_id, _, until, *_ in note.content["entities"]:
        gone.setdefault(_part(current, entity_id), {})[*note.scope, model, entity_id] = until
    await asyncio.gather(*(_rewrite(streams, name, keys) for name, keys in gone.items()))


async def _rewrite(streams: Streams, name: str, gone: Mapping[tuple[str, ...], int]) -> None:
    while (found := await streams.look(name)) is not None:
        rows = _unpacked(found.body)
        kept = [row for row in rows if row[4] > gone.get(tuple(row[:4]), -1)]
        if len(kept) == len(rows):
            await streams.clear(name, before=found.sequence)
            return
        try:
            sequence = await streams.put(name, _packed(kept), after=found.sequence)
        except Behind:
            continue
        await streams.clear(name, before=sequence)
        return


async def _put_all(streams: Streams, view: View, generation: Mapping[str, Any], head: bytes) -> int:
    waiting, size = set[asyncio.Task[int]](), 0
    try:
        async for name, body in _parts(view, generation, head):
            size += len(body)
            waiting.add(asyncio.create_task(streams.put(name, body)))
            await asyncio.sleep(0)  # appends and answers come before the next part is packed
            if len(waiting) >= ABREAST:
                done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
        await asyncio.gather(*waiting)
    finally:
        for task in waiting:
            task.cancel()
    return size


async def _parts(view: View, generation: Mapping[str, Any], head: bytes) -> AsyncIterator[tuple[str, bytes]]:
    name = generation["name"]
    yield f"k{name}-h0", head
    for number, events in enumerate(_events(view, generation["e"])):
        yield f"k{name}-e{number}", _packed(events)
    buckets: list[list[tuple[tuple[str, str, str], str]]] = [[] for _ in range(generation["b"])]
    for key, kind in list(view.kinds.items()):
        for count, entity_id in enumerate(list(kind.lines)):
            buckets[_bucket(generation, entity_id)].append((key, entity_id))
            if not count % ENTITIES:
                await asyncio.sleep(0)
    for number, bucket in enumerate(buckets):
        lines = ((*key, entity_id, view.line((*key, entity_id))) for key, entity_id in bucket)
        yield f"k{name}-b{number}", _packed([_line(*line) for line in lines if line[-1] is not None])


def _line(namespace: str, environment: str, model: str, entity_id: str, line: Line | None) -> list[Any]:
    assert line is not None
    context = None if line.context is None else pack_context(line.context)
    return [namespace, environment, model, entity_id, line.last, line.changed, context]


def _events(view: View, parts: int) -> Iterator[list[Any]]:
    size, part, held, given = -(-len(view.events) // parts), list[Any](), 0, 0
    for at, answers in view.events.all():
        part.append([at, [[*key, number] for key, number in answers]])
        held += len(answers)
        if held >= size and given < parts - 1:
            yield part
            part, held, given = [], 0, given + 1
    for _ in range(given, parts):
        yield part
        part = []


def _head(view: View) -> dict[str, Any]:
    return {
        "sequence": view.sequence,
        "at": view.at,
        "trimmed": view.trimmed,
        "audits": list(view.audits),
        "notices": list(view.notices.items()),
        "erasing": [[number, note.at, note.scope, note.content] for number, note in view.erasing.items()],
        "shelves": [[scope, _shelf(shelf)] for scope, shelf in view.shelves.items()],
    }


def _shelf(shelf: Shelf) -> dict[str, Any]:
    leases = ([lease.endpoint.to_dict(), lease.ttl, lease.until, lease.number] for lease in shelf.leases.values())
    return {
        "models": [model.to_dict() for model in shelf.models.values()],
        "policies": list(shelf.policies),
        "leases": list(leases),
        "keys": [[key.kid, key.secret.hex()] for key in shelf.keys.values()],
        "records": [[r.kind, r.name, dict(r.content), r.revision] for r in shelf.records.values()],
    }


def _read_head(view: View, head: Mapping[str, Any]) -> None:
    view.sequence, view.at, view.trimmed = head["sequence"], head["at"], head["trimmed"]
    view.audits = array("Q", head["audits"])
    view.notices = dict(head["notices"])
    view.erasing = {number: Note(at, "forgotten", Scope(*scope), told) for number, at, scope, told in head["erasing"]}
    view.shelves = {Scope(*scope): _read_shelf(plain) for scope, plain in head["shelves"]}


def _read_shelf(plain: Mapping[str, Any]) -> Shelf:
    models = map(BusinessModel.from_dict, plain["models"])
    leases = (Lease(Endpoint.from_dict(endpoint), *rest) for endpoint, *rest in plain["leases"])
    return Shelf(
        {model.name: model for model in models},
        array("Q", plain["policies"]),
        {(lease.endpoint.service, lease.endpoint.url): lease for lease in leases},
        {kid: SigningKey(kid, bytes.fromhex(secret)) for kid, secret in plain["keys"]},
        {(kind, name): Record(kind, name, content, revision) for kind, name, content, revision in plain["records"]},
    )


def _read_events(view: View, part: list[Any]) -> None:
    for at, answers in part:
        view.events.restore(at, (((*key,), number) for *key, number in answers))


def _read_lines(view: View, rows: list[Any]) -> None:
    for namespace, environment, model, entity_id, last, changed, plain in rows:
        context = None if plain is None else unpack_context(model, entity_id, plain)
        view.kind(Scope(namespace, environment), model).put(entity_id, Line(context, last, changed))


_READ: Mapping[str, Callable[[View, Any], None]] = {"h": _read_head, "e": _read_events, "b": _read_lines}


def _names(generation: Mapping[str, Any]) -> list[str]:
    return [f"k{generation['name']}-{kind}{number}" for kind in "heb" for number in range(generation[kind])]


def _part(generation: Mapping[str, Any], entity_id: str) -> str:
    return f"k{generation['name']}-b{_bucket(generation, entity_id)}"


def _bucket(generation: Mapping[str, Any], entity_id: str) -> int:
    return zlib.crc32(entity_id.encode(errors="surrogatepass")) % int(generation["b"])


def _packed(plain: Any) -> bytes:
    return zlib.compress(encode(plain).encode(), 1)


def _unpacked(body: bytes) -> Any:
    return json.loads(zlib.decompress(body))


async def _table(streams: Streams) -> tuple[dict[str, Any], Raw | None]:
    found = await streams.look(KEY)
    empty: dict[str, Any] = {"current": None, "writing": None, "garbage": []}
    return (json.loads(found.body) if found else empty), found


async def _save(streams: Streams, table: Mapping[str, Any], before: Raw | None) -> bool:
    try:
        await streams.put(KEY, json.dumps(table).encode(), after=before.sequence if before else 0, only=True)
    except Behind:
        return False
    return True
