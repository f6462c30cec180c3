"""Who may what without a token: patterns over certificates and claims, each with grants.

A subject is a SPIFFE id, ``cn:NAME``, ``oidc:sub:ID``, ``oidc:group:NAME`` or ``oidc:role:NAME``. In a pattern ``*``
stands for any text without a slash, so that ``spiffe://mesh/ns/shop/sa/*`` is every workload of one namespace.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Self

from mcp_sdk.exceptions import ProtocolError
from mcp_sdk.ports import Record
from mcp_sdk.server.access.callers import Grant

__all__ = ["KIND", "IdentityGrant", "name_of", "readable", "resolve"]

logger = logging.getLogger("mcp_sdk.server")
KIND = "identity"
_FORM = re.compile(r"(spiffe://|cn:|oidc:(sub|group|role):)[^\x00-\x1f]+")


@dataclass(frozen=True)
class IdentityGrant:
    """The grants of all whose subject fits ``pattern``; ``service`` is the one that they may speak for, or empty."""

    pattern: str
    grants: tuple[Grant, ...]
    service: str = ""
    revision: int = 0

    def __post_init__(self) -> None:
        if not _FORM.fullmatch(self.pattern):
            raise ProtocolError(
                f"{self.pattern!r:.120} is no subject. Subjects are spiffe://…, cn:NAME, oidc:sub:ID, oidc:group:NAME "
                "and oidc:role:NAME"
            )

    def fits(self, subjects: Iterable[str]) -> bool:
        """Tell whether one of some subjects is meant."""
        return any(_fits(self.pattern, subject) for subject in subjects)

    def record(self) -> Record:
        """Give the record that holds it."""
        content = {"pattern": self.pattern, "grants": [one.to_dict() for one in self.grants], "service": self.service}
        return Record(KIND, name_of(self.pattern), content, self.revision)

    @classmethod
    def from_record(cls, record: Record) -> Self:
        """Read what ``record`` wrote; raises ``ProtocolError``."""
        held = record.content
        try:
            grants = tuple(Grant.from_dict(one) for one in held["grants"])
            return cls(held["pattern"], grants, held["service"], record.revision)
        except (KeyError, TypeError) as error:
            raise ProtocolError(f"the identity {record.name!r} is stored in a form that cannot be read") from error

    def shown(self) -> dict[str, Any]:
        """Give it as plain JSON."""
        return {"id": name_of(self.pattern), **self.record().content}


def name_of(pattern: str) -> str:
    """Give the name of a pattern's record."""
    return hashlib.sha256(pattern.encode()).hexdigest()[:16]


def readable(records: Iterable[Record]) -> list[IdentityGrant]:
    """Give the patterns that can be read: one of a newer version, say, must not shut everybody out."""
    found = []
    for record in records:
        try:
            found.append(IdentityGrant.from_record(record))
        except ProtocolError as error:
            logger.error("a pattern grants nothing: %s", error)  # noqa: TRY400
    return found


def resolve(subjects: Iterable[str], records: Iterable[Record]) -> tuple[tuple[Grant, ...], str]:
    """Give the grants of some subjects, and the service that they speak for.

    Where patterns that fit name several services, none is granted: it could not be said for whom one speaks.
    """
    subjects = tuple(subjects)
    fitting = [one for one in readable(records) if one.fits(subjects)]
    services = {one.service for one in fitting if one.service}
    if len(services) > 1:
        return (), ""
    return tuple(grant for one in fitting for grant in one.grants), next(iter(services), "")


@lru_cache(maxsize=4096)
def _fits(pattern: str, subject: str) -> bool:
    """Tell whether a subject fits, in time that no pattern makes long; a regular expression might take hours."""
    wanted, given = pattern.split("/"), subject.split("/")
    return len(wanted) == len(given) and all(map(_part_fits, wanted, given))


def _part_fits(wanted: str, given: str) -> bool:
    first, *rest = wanted.split("*")
    if not rest:
        return wanted == given
    *middle, last = rest
    at, end = len(first), len(given) - len(last)
    if at > end or not (given.startswith(first) and given.endswith(last)):
        return False
    for text in middle:
        found = given.find(text, at, end)
        if found < 0:
            return False
        at = found + len(text)
    return True
