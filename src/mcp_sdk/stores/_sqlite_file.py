"""One SQLite file: created private, opened, brought up to date, and its failures told in words that help."""

from __future__ import annotations

import os
import sqlite3
import time
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

from mcp_sdk.exceptions import StoreError, StoreUnavailable

__all__ = ["APPLICATION_ID", "SCHEMA_VERSION", "connect", "failures", "prepare", "transaction"]

APPLICATION_ID = 0x6D637073
SCHEMA_VERSION = 2

SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE scopes (
  scope INTEGER PRIMARY KEY, namespace TEXT NOT NULL, environment TEXT NOT NULL, UNIQUE (namespace, environment));
CREATE TABLE entities (
  scope INTEGER NOT NULL, model TEXT NOT NULL, entity_id TEXT NOT NULL, state TEXT, attributes TEXT NOT NULL,
  revision INTEGER NOT NULL, observed_at TEXT, source TEXT NOT NULL, entered_at TEXT, changed_at REAL NOT NULL,
  PRIMARY KEY (scope, model, entity_id)) WITHOUT ROWID;
CREATE INDEX entities_state ON entities (scope, model, state, entity_id);
CREATE TABLE log (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, scope INTEGER NOT NULL, kind TEXT NOT NULL, model TEXT,
  entity_id TEXT, event_id TEXT, status TEXT, revision INTEGER, from_state TEXT, to_state TEXT, attributes TEXT,
  outcome TEXT, base_revision INTEGER, batch_id TEXT, observed_at TEXT, source TEXT, operation TEXT, cause TEXT,
  duration REAL, trace_id TEXT, context TEXT);
CREATE UNIQUE INDEX log_event ON log (event_id, scope) WHERE event_id IS NOT NULL;
CREATE INDEX log_entity ON log (entity_id, model, scope) WHERE entity_id IS NOT NULL;
CREATE INDEX log_notice ON log (at) WHERE event_id IS NULL;
CREATE TABLE erased (
  event_id TEXT NOT NULL, scope INTEGER NOT NULL, status TEXT NOT NULL, revision INTEGER NOT NULL, at REAL NOT NULL,
  PRIMARY KEY (event_id, scope)) WITHOUT ROWID;
CREATE TABLE models (
  scope INTEGER NOT NULL, name TEXT NOT NULL, declaration TEXT NOT NULL, PRIMARY KEY (scope, name)) WITHOUT ROWID;
CREATE TABLE policies (
  scope INTEGER NOT NULL, revision INTEGER NOT NULL, programs TEXT NOT NULL, sources TEXT NOT NULL,
  author TEXT NOT NULL, created_at TEXT NOT NULL, PRIMARY KEY (scope, revision));
CREATE TABLE leases (
  number INTEGER PRIMARY KEY AUTOINCREMENT, scope INTEGER NOT NULL, service TEXT NOT NULL, url TEXT NOT NULL,
  endpoint TEXT NOT NULL, until REAL NOT NULL, UNIQUE (scope, service, url));
CREATE TABLE keys (
  number INTEGER PRIMARY KEY AUTOINCREMENT, scope INTEGER NOT NULL, kid TEXT NOT NULL, secret BLOB NOT NULL,
  UNIQUE (scope, kid));
"""
_FROM = {
    1: """
CREATE TABLE records (
  scope INTEGER NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL, content TEXT NOT NULL, revision INTEGER NOT NULL,
  PRIMARY KEY (scope, kind, name)) WITHOUT ROWID;
CREATE TABLE audit (number INTEGER PRIMARY KEY, entry TEXT NOT NULL);
""",
}
"""What brings a file of each older schema one version on."""

_ADVICE = {
    "SQLITE_BUSY": "is locked: another process held it for too long. Find it with: fuser {path}",
    "SQLITE_LOCKED": "is locked by another connection of this process",
    "SQLITE_CANTOPEN": "cannot be opened. Its directory must exist and be writable: {directory}",
    "SQLITE_NOTADB": "is not a database. Move it away, or restore it from a backup",
    "SQLITE_CORRUPT": "is damaged. Move it away, or restore it from a backup",
    "SQLITE_READONLY": "cannot be written. Check its owner, its mode and the mount",
    "SQLITE_PERM": "cannot be written. Check its owner, its mode and the mount",
    "SQLITE_FULL": "cannot grow: the disk is full",
    "SQLITE_IOERR": "failed to read or write: is the disk full or gone?",
}


@contextmanager
def failures(path: Path) -> Iterator[None]:
    """Turn what SQLite and the file system raise inside the block into ``StoreUnavailable`` or ``StoreError``."""
    try:
        yield
    except (sqlite3.IntegrityError, sqlite3.DataError, sqlite3.InterfaceError, UnicodeError, OverflowError) as error:
        raise StoreError(f"{path} cannot hold this: {error}") from error
    except ValueError as error:
        raise StoreError(f"{path} holds a row that cannot be read: {error}") from error
    except sqlite3.Error as error:
        name = str(getattr(error, "sqlite_errorname", "") or "")
        advice = next((text for prefix, text in _ADVICE.items() if name.startswith(prefix)), "failed: {error}")
        told = advice.format(path=path, directory=path.parent, error=error)
        raise StoreUnavailable(f"{path} {told}. (SQLite: {error})") from error
    except OSError as error:
        raise StoreUnavailable(
            f"{path} cannot be opened: {error.strerror}. Its directory must exist and be writable."
        ) from error


def connect(path: Path, busy_timeout: float) -> sqlite3.Connection:
    """Open a connection in autocommit mode; the file must be there. What it acknowledges survives the loss of power."""
    connection = sqlite3.connect(
        f"file:{quote(str(path))}?mode=rw",
        uri=True,
        timeout=busy_timeout,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=256,
    )
    try:
        for setting in (
            "synchronous = FULL",
            "secure_delete = ON",
            "temp_store = MEMORY",
            "wal_autocheckpoint = 8000",  # 32 MB: pages that are written again and again are copied once
            "journal_size_limit = 67108864",
        ):
            connection.execute(f"PRAGMA {setting}")
    except BaseException:
        connection.close()
        raise
    return connection


def prepare(path: Path, busy_timeout: float) -> str:
    """Create the file with mode 0600 and its schema where they are missing; give the identity of the database.

    Raises ``StoreError`` for a newer schema and for another application's database.
    """
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    with closing(connect(path, busy_timeout)) as connection:
        _write_ahead(connection, busy_timeout)
        if not _up_to_date(path, connection):
            with transaction(connection):
                _upgrade(path, connection)
        (identity,) = connection.execute("SELECT value FROM meta WHERE name = 'identity'").fetchone()
    return str(identity)


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """Hold the write lock during the block; commit at its end, or roll back."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield connection
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _write_ahead(connection: sqlite3.Connection, busy_timeout: float) -> None:
    # The busy timeout does not cover the change of journal mode, and processes start together.
    deadline = time.monotonic() + busy_timeout
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if not str(error.sqlite_errorname).startswith("SQLITE_BUSY") or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


def _up_to_date(path: Path, connection: sqlite3.Connection) -> bool:
    """Tell whether the newest schema is there; takes no lock, for who only reads must not wait for a writer."""
    (version,), (application,) = (
        connection.execute(f"PRAGMA {name}").fetchone() for name in ("user_version", "application_id")
    )
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if application != APPLICATION_ID and (tables or version):
        raise StoreError(f"{path} is a database of another application. Name another file.")
    if version > SCHEMA_VERSION:
        raise StoreError(
            f"{path} has schema {version}, and this mcp-sdk knows {SCHEMA_VERSION}. Upgrade it: pip install -U mcp-sdk"
        )
    return bool(tables) and bool(version == SCHEMA_VERSION)


def _upgrade(path: Path, connection: sqlite3.Connection) -> None:
    if _up_to_date(path, connection):
        return
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if not version:
        _create(connection)
    for before in range(version or 1, SCHEMA_VERSION):
        _run(connection, _FROM[before])
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def _run(connection: sqlite3.Connection, statements: str) -> None:
    for statement in statements.split(";\n"):
        connection.execute(statement)


def _create(connection: sqlite3.Connection) -> None:
    _run(connection, SCHEMA)
    connection.executemany("INSERT INTO meta VALUES (?, ?)", (("identity", uuid.uuid4().hex), ("trimmed", "0")))
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
