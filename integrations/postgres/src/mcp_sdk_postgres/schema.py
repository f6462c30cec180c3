"""Brings the schema up to date when a store is opened, however many replicas open at once.

The migrations are lists of SQL statements that yoyo-migrations applies (https://ollycope.com/software/yoyo/latest/).
Whoever finds one missing takes an advisory lock of PostgreSQL first, which ends with its connection: yoyo's own lock is
a row that a killed process leaves behind. Where nothing is missing yoyo is not even imported.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import psycopg
from psycopg import AsyncConnection

from mcp_sdk.exceptions import StoreError
from mcp_sdk_postgres.address import Address

__all__ = ["prepare"]

MIGRATIONS = Path(__file__).with_name("migrations")
PATIENCE = 60_000
"""Milliseconds that a statement of a migration may take, and that one waits for the replica that migrates."""


async def prepare(address: Address, name: str) -> str:
    """Create what is missing; give the identity of the database.

    ``name`` is how the connection is called. Raises ``psycopg.Error``, and ``StoreError`` for a newer schema.
    """
    libpq = {**address.libpq, "application_name": name}
    connection = await AsyncConnection.connect(**libpq, autocommit=True)
    async with connection:
        if await _missing(connection, address):
            await _migrate(connection, address, libpq)
        cursor = await connection.execute(f"SELECT identity FROM {address.quoted}.head")  # noqa: S608 - no value
        (identity,) = await cursor.fetchone() or ("",)
    return str(identity)


async def _migrate(connection: AsyncConnection, address: Address, libpq: dict[str, object]) -> None:
    await connection.execute("SELECT set_config('statement_timeout', %s, false)", (str(PATIENCE),))
    await connection.execute("SELECT pg_advisory_lock(hashtextextended(%s, 0))", (address.channel,))
    if await _missing(connection, address):
        await connection.execute(f"CREATE SCHEMA IF NOT EXISTS {address.quoted}")
        from mcp_sdk_postgres.migrating import migrate  # noqa: PLC0415 - only who migrates needs the tool

        await asyncio.to_thread(migrate, libpq, address.quoted, MIGRATIONS)


async def _missing(connection: AsyncConnection, address: Address) -> bool:
    """Tell whether a migration of this package is to be applied; raises ``StoreError`` for those it does not know."""
    known = {path.stem for path in MIGRATIONS.glob("[0-9]*.py")}
    applied = await _applied(connection, address)
    if newer := sorted(applied - known):
        raise StoreError(
            f"{address} has schema {newer[-1]}, and this mcp-sdk-postgres knows {max(known)}. "
            "Upgrade it: pip install -U mcp-sdk-postgres"
        )
    return bool(known - applied)


async def _applied(connection: AsyncConnection, address: Address) -> set[str]:
    try:
        cursor = await connection.execute(f"SELECT migration_id FROM {address.quoted}._yoyo_migration")  # noqa: S608
    except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
        return set()
    return {str(name) for (name,) in await cursor.fetchall()}
