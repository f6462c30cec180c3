"""The store in Redis, or in one shard of a Redis Cluster, shared by many machines.

What must be read and written at once is a script in the server, so a writer never has to try again and a batch is one
round trip. A stream tells watchers that something changed, a hash holds what: erasing is real, for Redis only marks the
entries that it deletes from a stream. Times are the server's.
"""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from mcp_sdk.context import MESH, EntityRef, ModelContext, Scope, Transition
from mcp_sdk.exceptions import RevisionConflict, StoreDenied, StoreError, StoreUnavailable
from mcp_sdk.merging import unmoved
from mcp_sdk.models import BusinessModel
from mcp_sdk.ports import AppendResult, Applied, Change, Cursor, Page, Receipt, Record, SigningKey, Store
from mcp_sdk.services import Endpoint
from mcp_sdk.snapshot import PolicyRevision
from mcp_sdk_redis import rows, scripts
from mcp_sdk_redis.errors import KeptOut, encoded, failures, plain
from mcp_sdk_redis.keys import Keys, head, path
from mcp_sdk_redis.link import Link
from mcp_sdk_redis.options import Options, parse
from mcp_sdk_redis.watching import Watching, cursor_at, lines, position, written

__all__ = ["SCHEMA", "RedisStore", "connect"]

SCHEMA = 1
FORGET_BATCH = 200
logger = logging.getLogger("mcp_sdk_redis")


def connect(url: str, *, poll_interval: float = 0.05) -> RedisStore:
    """Give the store of ``redis://host:6379/0?prefix=NAME``; the entry points ``redis``, ``rediss`` and ``…+cluster``.

    It polls nothing. Raises ``ConfigurationError``.
    """
    del poll_interval
    return RedisStore(parse(url))


class RedisStore(Store):
    """Keeps everything under the keys of one prefix. One instance is used from one event loop at a time.

    ``client_name`` is the name of its connections in ``CLIENT LIST``.
    """

    def __init__(self, options: Options) -> None:
        self._options = options
        self._keys = Keys(options.prefix)
        self.client_name = f"mcp-sdk-{uuid.uuid4().hex[:12]}"
        self._link = Link(options, self.client_name)
        self._log = (uuid.uuid4().hex, int(options.log_age * 1000), options.log_size)
        self._closed = False
        self._warned = False

    async def open(self) -> None:
        """Connect, and begin a store where there is none; warn once of a server that keeps nothing.

        Raises ``StoreError`` for a schema newer than this package.
        """
        self._closed = False
        self._link.open()
        _, schema = await self._link.run(scripts.OPEN, self._keys.writing, *self._log, SCHEMA)
        if int(schema) > SCHEMA:
            raise StoreError(
                f"{self._options.address} holds schema {int(schema)} under {self._options.prefix!r}, and this "
                f"mcp-sdk-redis knows {SCHEMA}. Upgrade it: pip install -U mcp-sdk-redis"
            )
        if not self._warned:
            self._warned = True
            await self._warn()

    async def _warn(self) -> None:
        try:
            found = await self._link.settings(self._keys.meta, "appendonly", "save", "maxmemory-policy")
        except StoreError:
            return  # many a server does not tell
        if found.get("appendonly") == "no" and not found.get("save"):
            logger.warning(
                "%s keeps nothing on disk: what is acknowledged is gone when it stops. Set: appendonly yes",
                self._options.address,
            )
        if str(found.get("maxmemory-policy", "")).startswith("allkeys"):
            logger.warning(
                "%s throws keys away when its memory is full. Set: maxmemory-policy noeviction", self._options.address
            )

    async def close(self) -> None:
        """End every watch and close the connections."""
        self._closed = True
        await self._link.close()

    async def append(self, transitions: Sequence[Transition]) -> tuple[AppendResult, ...]:
        """Apply transitions in one script; see ``Store.append``.

        A password or an ACL that is wrong says nothing of the transitions: they are to wait until it is mended, with
        ``StoreDenied``. Opening fails at once by the same, for there is nothing to lose yet.
        """
        if not transitions:
            return ()
        with failures(self._options.address):
            heads, scopes, packed = rows.pack(transitions)
        keys = self._keys
        touched = (keys.entities, keys.by_id, keys.by_state, *keys.seen, *map(keys.ages, heads))
        echoes = self._link.echoes
        words: list[str | bytes | int] = [json.dumps(scopes, ensure_ascii=False), int(echoes.wanted), *packed]
        with echoes.writing() as tell:
            try:
                results, identity, before, entries = await self._write(scripts.APPEND, touched, *words)
            except KeptOut as error:
                raise StoreDenied(str(error)) from error
            if before:
                place = position(cursor_at(identity, before))
                size = sum(map(len, packed)) + len(entries)
                tell(place, size, lambda: written(transitions, identity, entries))
        return rows.results(transitions, results)

    async def get(self, scope: Scope, refs: Sequence[EntityRef]) -> Mapping[EntityRef, ModelContext]:
        """Look entities up; see ``Store.get``."""
        wanted = list(dict.fromkeys(refs))
        if not wanted:
            return {}
        names = [head(scope, ref.model) + ref.entity_id for ref in wanted]
        values = await self._link.command("HMGET", self._keys.entities, *names)
        texts = zip(wanted, (value.partition(b" ")[2] if value else b"" for value in values), strict=True)
        return {ref: rows.context(ref, text) for ref, text in texts if text}

    async def list(
        self,
        scope: Scope,
        model: str,
        *,
        state: str | None = None,
        id_prefix: str = "",
        limit: int = 100,
        after: str = "",
    ) -> Page:
        """List entities by id, from an index in the order of UTF-8, which is that of code points."""
        before = head(scope, model).encode()
        index, stem = (self._keys.by_id, before) if state is None else (self._keys.by_state, before + _measured(state))
        least, most = _between(stem, encoded(id_prefix), encoded(after))
        answer = await self._link.run(
            scripts.LISTING, (self._keys.entities, index), least, most, limit + 1, before, stem
        )
        found = [_listed(model, line) for line in lines(answer)]
        page = tuple(found[:limit])
        return Page(page, page[-1].entity_id if len(found) > limit else "")

    async def history(self, scope: Scope, ref: EntityRef, *, limit: int = 100) -> tuple[Applied, ...]:
        """Give the last transitions of an entity, as far back as the log goes."""
        name = head(scope, ref.model) + ref.entity_id
        answer = await self._link.run(scripts.HISTORY, (self._keys.entities, self._keys.log), name, limit)
        return tuple(map(rows.applied, reversed(lines(answer))))

    async def cursor(self) -> Cursor:
        """Give the position after the newest change: the store's identity and an id of its stream."""
        return await self._watching().newest()

    async def watch(self, cursor: Cursor) -> AsyncIterator[Change]:
        """Yield every change after a position; see ``Store.watch``.

        A position of another store, one that was trimmed, and one that a failover lost yield ``resync`` first.
        """
        if self._closed:
            return
        watching = self._watching()
        with watching.joined() as echo:
            while not self._closed:
                try:
                    reached, changes = await watching.after(cursor, echo)
                    if reached == cursor and not changes:
                        await watching.wait(cursor)
                except StoreUnavailable:
                    if self._closed:
                        return  # its connections were closed under it
                    raise
                for change in changes:
                    yield change
                cursor = reached

    def _watching(self) -> Watching:
        return Watching(self._link, self._keys, self._options.timeout)

    async def put_models(
        self, scope: Scope, models: Sequence[BusinessModel], *, held: Sequence[BusinessModel] | None = None
    ) -> bool:
        """Declare models; see ``Store.put_models``. What is stored is compared here, and by its bytes in the script."""
        declared = {model.name: plain(model.to_dict()) for model in models}
        stored = {} if held is None else await self._declared(scope)
        known = {name: _model(text) for name, text in stored.items()}
        if not unmoved([name for name, text in declared.items() if stored.get(name) != text], known, held):
            return False
        told = [word for name, text in declared.items() for word in (name, text, stored.get(name, b""))]
        words = (path(*scope), int(held is not None), *told)
        return bool(await self._write(scripts.PUT_MODELS, (self._keys.of("models", scope),), *words))

    async def models(self, scope: Scope) -> tuple[BusinessModel, ...]:
        """Give the declared models, by name."""
        return tuple(_model(text) for _, text in sorted((await self._declared(scope)).items()))

    async def _declared(self, scope: Scope) -> dict[str, bytes]:
        found = await self._link.command("HGETALL", self._keys.of("models", scope))
        return {name.decode(): text for name, text in found.items()}

    async def put_policies(self, scope: Scope, policies: PolicyRevision) -> PolicyRevision:
        """Store the next revision of the policy set; see ``Store.put_policies``."""
        created = policies.created_at or await self._now()
        stored = replace(policies, revision=policies.revision + 1, created_at=created)
        told = plain({"sources": dict(stored.sources), "author": stored.author, "created_at": created})
        programs = plain(dict(stored.programs))
        keys = (self._keys.of("policies", scope),)
        actual = await self._write(scripts.PUT_POLICIES, keys, path(*scope), policies.revision, told, programs)
        if actual != policies.revision:
            raise RevisionConflict("policies", expected=policies.revision, actual=actual)
        return stored

    async def _now(self) -> str:
        seconds = await self._link.run(scripts.TIME, (self._keys.meta,))
        return datetime.fromtimestamp(float(seconds), UTC).isoformat()

    async def policies(self, scope: Scope, revision: int | None = None) -> PolicyRevision | None:
        """Give one revision of the policy set, or the current one."""
        key = self._keys.of("policies", scope)
        number = await self._newest(key) if revision is None else revision
        told, programs = await self._link.command("HMGET", key, str(number), f"programs {number}")
        return _revision(number, told, programs) if told else None

    async def policy_history(self, scope: Scope, *, limit: int = 50) -> tuple[PolicyRevision, ...]:
        """Give the revisions, newest first, without their programs."""
        key = self._keys.of("policies", scope)
        newest = await self._newest(key)
        numbers = range(newest, max(newest - limit, 0), -1)
        if not numbers:
            return ()
        found = await self._link.command("HMGET", key, *map(str, numbers))
        return tuple(_revision(number, told, b"{}") for number, told in zip(numbers, found, strict=True))

    async def _newest(self, key: str) -> int:
        return int(await self._link.command("HGET", key, "newest") or 0)

    async def register(self, scope: Scope, endpoint: Endpoint, *, ttl: float) -> None:
        """Announce an endpoint or renew its lease; see ``Store.register``."""
        words = (path(*scope), path(endpoint.service, endpoint.url), plain(endpoint.to_dict()), int(ttl * 1000))
        await self._write(scripts.REGISTER, (self._keys.of("leases", scope),), *words)

    async def deregister(self, scope: Scope, endpoint: Endpoint) -> None:
        """Take an endpoint away."""
        words = (path(*scope), path(endpoint.service, endpoint.url))
        await self._write(scripts.DEREGISTER, (self._keys.of("leases", scope),), *words)

    async def endpoints(self, scope: Scope) -> tuple[Endpoint, ...]:
        """Give every endpoint whose lease has not run out by the server's clock, in order of registration."""
        now, found = await self._link.run(scripts.ENDPOINTS, (self._keys.of("leases", scope),))
        leases = sorted((json.loads(text) for text in found), key=lambda lease: int(lease[1]))
        return tuple(Endpoint.from_dict(json.loads(text)) for until, _, text in leases if until > now)

    async def put_key(self, scope: Scope, key: SigningKey) -> None:
        """Add a signing key as the newest."""
        await self._write(scripts.PUT_KEY, (self._keys.of("keys", scope),), path(*scope), key.kid, key.secret.hex())

    async def keys(self, scope: Scope) -> tuple[SigningKey, ...]:
        """Give the signing keys, newest first."""
        found = await self._link.command("HGETALL", self._keys.of("keys", scope))
        numbered = [(*json.loads(text), kid.decode()) for kid, text in found.items()]
        return tuple(SigningKey(kid, bytes.fromhex(secret)) for _, secret, kid in sorted(numbered, reverse=True))

    async def put_record(self, scope: Scope, record: Record) -> Record:
        """Write a record; see ``Store.put_record``."""
        text = plain(dict(record.content))
        await self._revise(scope, record, text)
        return Record(record.kind, record.name, json.loads(text), record.revision + 1)

    async def delete_record(self, scope: Scope, record: Record) -> None:
        """Delete a record; see ``Store.delete_record``."""
        await self._revise(scope, record)

    async def _revise(self, scope: Scope, record: Record, *content: bytes) -> None:
        words: list[str | bytes | int] = [path(*scope, record.kind), record.name, record.revision, *content]
        actual = await self._write(scripts.PUT_RECORD, (self._keys.of("records", scope, record.kind),), *words)
        if actual != record.revision and (content or actual):
            raise RevisionConflict(f"{record.kind} {record.name!r}", expected=record.revision, actual=actual)

    async def records(self, scope: Scope, kind: str) -> tuple[Record, ...]:
        """Give the records of a kind, by name."""
        found = await self._link.command("HGETALL", self._keys.of("records", scope, kind))
        return tuple(_record(kind, name, value) for name, value in sorted(found.items()))

    async def append_audit(self, number: int, entry: str) -> None:
        """Add an entry to the audit log; see ``Store.append_audit``."""
        last = await self._write(scripts.APPEND_AUDIT, (self._keys.audit,), path(*MESH), number, entry)
        if last + 1 != number:
            raise RevisionConflict("audit", expected=number - 1, actual=last)

    async def audit(self, *, after: int = 0, limit: int = 1000) -> tuple[str, ...]:
        """Give the entries after a number, in order."""
        found = await self._link.command("LRANGE", self._keys.audit, after, after + limit - 1)
        return tuple(entry.decode() for entry in found)

    async def retain(self, scope: Scope, model: str, before: datetime) -> int:
        """Erase what has not changed since ``before``, a few entities a script; see ``Store.retain``."""
        erased, looked = 0, FORGET_BATCH
        stem = head(scope, model)
        with self._link.echoes.erasing():
            while looked == FORGET_BATCH:
                words = (stem, repr(before.timestamp()), FORGET_BATCH)
                looked, gone = await self._write(scripts.RETAIN, self._erasing(stem), *words)
                erased += gone
        return erased

    async def forget(self, scope: Scope, ref: EntityRef) -> Receipt:
        """Erase an entity, and tell every watcher; see ``Store.forget``.

        The notice to watchers holds the model and the id for a day, and is then erased too.
        """
        stem = head(scope, ref.model)
        with self._link.echoes.erasing():
            held, gone = await self._write(scripts.FORGET, self._erasing(stem), stem, ref.entity_id)
        return Receipt(ref, held, gone)

    def _erasing(self, stem: str) -> tuple[str, ...]:
        keys = self._keys
        return (keys.entities, keys.by_id, keys.by_state, keys.ages(stem))

    async def _write(self, script: scripts.Script, keys: Sequence[str], *words: str | bytes | float) -> Any:
        return await self._link.write(script, (*self._keys.writing, *keys), *self._log, *words)


def _measured(state: str) -> bytes:
    text = encoded(state)
    return b"%d:%s:" % (len(text), text)


def _between(stem: bytes, prefix: bytes, after: bytes) -> tuple[bytes, bytes]:
    """Give the ends of a range by bytes: what begins with ``stem`` and ``prefix``, and comes after ``after``."""
    whole = stem + prefix
    end = whole[:-1] + bytes([whole[-1] + 1])  # no byte of UTF-8 is 255
    return (b"(" + stem + after if after >= prefix and after else b"[" + whole), b"(" + end


def _listed(model: str, line: bytes) -> ModelContext:
    name, _, text = line.partition(b"\t")
    return rows.context(EntityRef(model, json.loads(name)), text)


def _model(text: bytes) -> BusinessModel:
    return BusinessModel.from_dict(json.loads(text))


def _revision(number: int, told: bytes, programs: bytes) -> PolicyRevision:
    return PolicyRevision(number, json.loads(programs), **json.loads(told))


def _record(kind: str, name: bytes, value: bytes) -> Record:
    revision, _, text = value.partition(b" ")
    return Record(kind, name.decode(), json.loads(text), int(revision))
