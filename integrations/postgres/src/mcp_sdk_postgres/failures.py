"""What PostgreSQL and the pool raise, as the store's own errors, in words that help and show no secret."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg_pool import PoolClosed, PoolTimeout, TooManyRequests

from mcp_sdk.exceptions import StoreError, StoreUnavailable
from mcp_sdk_postgres.address import Address

__all__ = ["Conflict", "failures", "unavailable"]

CONFLICT = "MC001"
_GONE = ("3F000", "42P01", "42883", "42703")
_HOLDS_NOT = ("22", "23", "54")
_ADVICE = (
    ("password authentication failed", "Check user and password in control_plane."),
    ("no password supplied", "Give a password in control_plane, by PGPASSWORD or in ~/.pgpass."),
    ("no pg_hba.conf entry", "Let the server's pg_hba.conf admit this user from this machine."),
    ("Connection refused", "Nobody listens there. Start the server, or mend host and port in control_plane."),
    ("could not translate host name", "Nobody knows that host. Mend it in control_plane."),
    ("failed to resolve host", "Nobody knows that host. Mend it in control_plane."),
    ("Name or service not known", "Nobody knows that host. Mend it in control_plane."),
    ("too many", "Raise max_connections, or lower pool_size in control_plane."),
    ("permission denied", "Grant the user CREATE on the database, or what is missing on the schema."),
    ("statement timeout", "Is the server overloaded? timeout= in control_plane gives a statement more seconds."),
    ("No space left", "The server's disk is full."),
    ("read-only transaction", "This is a standby. Name the primary, or add target_session_attrs=read-write."),
)


class Conflict(Exception):
    """Another transaction changed what this one stands on; it was rolled back, and may be tried again."""


def unavailable(address: Address, reason: object) -> StoreUnavailable:
    """Give the error that says why the store cannot answer now, and how to mend it."""
    text = " ".join(str(reason).split()) or type(reason).__name__
    if 'database "' in text and "does not exist" in text:
        advice = f"Create it: createdb {address.database}"
    else:
        advice = next((mend for sign, mend in _ADVICE if sign in text), "")
    return StoreUnavailable(f"{address}: {_without_password(address, text)} {advice}".rstrip())


def _without_password(address: Address, text: str) -> str:
    password = str(address.libpq.get("password") or "")
    return text.replace(password, "***") if password else text


@contextmanager
def failures(address: Address) -> Iterator[None]:
    """Turn what is raised inside the block into ``StoreUnavailable``, ``StoreError`` or ``Conflict``."""
    try:
        yield
    except (UnicodeError, OverflowError) as error:
        raise StoreError(f"{address} cannot hold this: {_told(error)}") from error
    except (PoolTimeout, PoolClosed, TooManyRequests, OSError) as error:
        raise unavailable(address, error) from error
    except psycopg.Error as error:
        raise _translated(address, error) from error
    except ValueError as error:
        raise StoreError(f"{address} holds a row that cannot be read: {error}") from error


def _told(error: Exception) -> str:
    if isinstance(error, UnicodeEncodeError):
        return f"{error.object[error.start : error.end]!r} is no character of Unicode."
    return str(error)


def _translated(address: Address, error: psycopg.Error) -> Exception:
    state = error.sqlstate or ""
    if state in (CONFLICT, "23505", "40001", "40P01"):
        return Conflict(str(error))
    if state in _GONE:
        return unavailable(address, f"{error} Was the schema dropped? It is made anew when the store is opened.")
    if state.startswith(_HOLDS_NOT) or isinstance(error, psycopg.DataError):
        return StoreError(f"{address} cannot hold this: {' '.join(str(error).split())}")
    return unavailable(address, error)
