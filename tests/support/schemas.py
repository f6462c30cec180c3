"""Schemas of a test's own in a PostgreSQL: one a place, dropped at the end."""

from __future__ import annotations

import hashlib
import uuid
from typing import Any, Self

import psycopg
from psycopg import sql


class Schemas:
    """Names schemas and their URLs, kills a handle's connections, and drops all at the end."""

    def __init__(self, server: dict[str, Any]) -> None:
        self._server = server
        self._mark = uuid.uuid4().hex[:8]
        self._names: set[str] = set()
        self._connection = psycopg.connect(
            host=server["host"], port=server["port"], user=server["user"], dbname=server["database"], autocommit=True
        )

    def name(self, place: object = "") -> str:
        """Give the schema of a place."""
        name = f"t_{self._mark}_{hashlib.sha256(str(place).encode()).hexdigest()[:12]}"
        self._names.add(name)
        return name

    def url(self, place: object = "", **options: object) -> str:
        """Give the URL of the store of a place."""
        more = "".join(f"&{key}={value}" for key, value in options.items())
        server = self._server
        where = f"{server['user']}@{server['host']}:{server['port']}/{server['database']}"
        return f"postgresql://{where}?schema={self.name(place)}{more}"

    def execute(self, statement: str, *values: object, place: object = "") -> list[tuple[Any, ...]]:
        """Run a statement with the schema of a place searched first; give its rows."""
        self._connection.execute(sql.SQL("SET search_path TO {}").format(sql.Identifier(self.name(place))))
        cursor = self._connection.execute(statement, values or None)  # type: ignore[call-overload]
        return cursor.fetchall() if cursor.description else []

    def cut(self, name: str) -> None:
        """End every connection of an application name."""
        self._connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = %s", (name,)
        )

    def close(self) -> None:
        """Drop the schemas."""
        for name in self._names:
            self._connection.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(name)))
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
