"""Runs the migrations by yoyo; imported only where one is to be applied."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
from yoyo import read_migrations
from yoyo.backends.core.postgresql import PostgresqlPsycopgBackend
from yoyo.connections import DatabaseURI

__all__ = ["migrate"]


class _Backend(PostgresqlPsycopgBackend):  # type: ignore[misc]
    """Connects as psycopg is told to, to a schema whose name is quoted, and notes no names of users and hosts."""

    def __init__(self, libpq: Mapping[str, Any], schema: str) -> None:
        self._libpq, self._quoted = libpq, schema
        super().__init__(DatabaseURI("postgresql", "", "", "", None, schema, {}), "_yoyo_migration")

    def copy(self) -> _Backend:
        return _Backend(self._libpq, self._quoted)

    def connect(self, dburi: object) -> psycopg.Connection[Any]:
        del dburi
        return psycopg.connect(**self._libpq, autocommit=True)

    def init_connection(self, connection: psycopg.Connection[Any]) -> None:
        connection.execute(f"SET search_path TO {self._quoted}".encode())

    def get_log_data(self, migration: Any = None, operation: str = "apply") -> dict[str, Any]:
        # yoyo asks the system for the user's name, and the user of a container may have none.
        return {
            "id": str(uuid.uuid4()),
            "migration_id": migration.id,
            "migration_hash": migration.hash,
            "username": "",
            "hostname": "",
            "created_at_utc": datetime.now(UTC).replace(tzinfo=None),
            "operation": operation,
        }


def migrate(libpq: Mapping[str, Any], schema: str, folder: Path) -> None:
    """Apply the migrations of a folder that a schema lacks, each in one transaction; blocks."""
    with _Backend(libpq, schema) as backend:
        backend.init_database()
        backend.apply_migrations(backend.to_apply(read_migrations(str(folder))))
