"""What the statements of the store need: a connection, the schema's name, and the numbers of scopes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from psycopg import AsyncCursor, sql

from mcp_sdk.context import Scope
from mcp_sdk_postgres.address import Address
from mcp_sdk_postgres.connections import Connection
from mcp_sdk_postgres.rows import encode

__all__ = ["PARTITION", "Numbers", "Session"]

PARTITION = 1_000_000
"""Entries of the log in one partition."""

_SCOPE = "SELECT scope FROM {0}.scopes WHERE namespace = %s AND environment = %s"
_NEW_SCOPE = "INSERT INTO {0}.scopes (namespace, environment) VALUES (%s, %s) ON CONFLICT DO NOTHING"
_CLAIM = "SELECT {0}.claim(-1, '{{}}', %s, %s, %s)"
_NOTICE = """
INSERT INTO {0}.log (seq, at, scope, kind, model, entity_id)
SELECT seq, clock_timestamp(), %s, %s, %s, %s FROM {0}.head
"""


class Numbers(dict[Scope, int]):
    """The numbers of the scopes of one schema, as far as they were looked up."""


@lru_cache(maxsize=512)
def _statement(template: str, schema: str) -> sql.SQL:
    return sql.SQL(template.format(schema))


@dataclass(frozen=True, slots=True)
class Session:
    """A connection to one schema; ``{0}`` in a statement is the schema."""

    connection: Connection
    address: Address
    numbers: Numbers
    partition: int = PARTITION

    async def execute(self, template: str, values: Sequence[Any] = ()) -> AsyncCursor[tuple[Any, ...]]:
        """Run a statement, prepared once a connection."""
        return await self.connection.execute(_statement(template, self.address.quoted), values, prepare=True)

    async def scope(self, scope: Scope) -> int:
        """Give the number of a scope, making one where there is none; outside any transaction."""
        if await self.find(scope) < 0:
            await self.execute(_NEW_SCOPE, tuple(map(encode, scope)))
            await self.find(scope)
        return self.numbers[scope]

    async def find(self, scope: Scope) -> int:
        """Give the number of a scope, or -1 when nothing was ever stored in it."""
        if scope not in self.numbers:
            row = await (await self.execute(_SCOPE, tuple(map(encode, scope)))).fetchone()
            if row is None:
                return -1
            self.numbers[scope] = row[0]
        return self.numbers[scope]

    async def prepare(self) -> None:
        """Make the partition that the next entries of the log go into, where it is missing."""
        await self.execute(_CLAIM, (0, self.partition, self.address.channel))

    async def notice(self, number: int, kind: str, about: tuple[str | None, str | None] = (None, None)) -> None:
        """Tell watchers of something that is no transition; the last statement of a transaction.

        ``about`` is the entity that was forgotten, or the kind of the record that was written; encoded.
        """
        await self.execute(_CLAIM, (1, self.partition, self.address.channel))
        await self.execute(_NOTICE, (number, kind, *about))
