"""Who asks, and what they may: roles, granted for namespaces, environments and targets.

A **viewer** looks, a **publisher** is a service (it reports what happened and hears what is in force), an **operator**
changes policies and modes, an **admin** also says who may what. A grant reaches no further than its namespace,
environment and targets; ``*`` stands for all of them. Reading asks for no target: what is in force is one snapshot for
a namespace and environment, and services read it whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Self

from mcp_sdk.context import MESH, Scope
from mcp_sdk.exceptions import ProtocolError
from mcp_sdk.server.faults import Fault

__all__ = ["CALLER", "ROLES", "Caller", "Grant", "Permission"]

CALLER = "mcp_sdk.caller"
"""Where a request's scope holds who asks, once that is known."""


class Permission(Enum):
    """What a call needs: one word for each kind of work."""

    READ = "read"
    TAP = "tap"
    DECIDE = "decide"
    PUBLISH = "publish"
    DECLARE = "declare models"
    APPLY = "apply"
    OPERATE = "operate"
    AUDIT = "read the audit log"
    ADMIN = "say who may what"


_VIEW = frozenset({Permission.READ, Permission.TAP, Permission.DECIDE})
ROLES: Mapping[str, frozenset[Permission]] = {
    "viewer": _VIEW,
    "publisher": frozenset({Permission.READ, Permission.DECIDE, Permission.PUBLISH, Permission.DECLARE}),
    "operator": _VIEW | {Permission.DECLARE, Permission.APPLY, Permission.OPERATE, Permission.AUDIT},
    "admin": frozenset(Permission),
}


@dataclass(frozen=True, slots=True)
class Grant:
    """A role in a namespace and environment, over some targets (services); ``*`` is all."""

    role: str
    namespace: str = "*"
    environment: str = "*"
    targets: tuple[str, ...] = ("*",)

    def __post_init__(self) -> None:
        if self.role not in ROLES:
            raise ProtocolError(f"no role {self.role!r}; there are {', '.join(ROLES)}")

    def reaches(self, scope: Scope, target: str) -> bool:
        """Tell whether this grant holds for a target in a scope; an empty target is the scope as a whole."""
        return self.enters(scope) and ("*" in self.targets or target in self.targets)

    def enters(self, scope: Scope) -> bool:
        """Tell whether this grant holds for some target in a scope."""
        return self.namespace in ("*", scope.namespace) and self.environment in ("*", scope.environment)

    def gives(self, permission: Permission, scope: Scope, target: str) -> bool:
        """Tell whether this grant gives a permission for a target in a scope."""
        reaches = self.enters(scope) if permission is Permission.READ else self.reaches(scope, target)
        return reaches and permission in ROLES[self.role]

    def covers(self, other: Grant) -> bool:
        """Tell whether this grant gives everything that another one gives."""
        return (
            ROLES[self.role] >= ROLES[other.role]
            and self.namespace in ("*", other.namespace)
            and self.environment in ("*", other.environment)
            and ("*" in self.targets or set(other.targets) <= set(self.targets))
        )

    def to_dict(self) -> dict[str, Any]:
        """Give the grant as plain JSON."""
        return {
            "role": self.role,
            "namespace": self.namespace,
            "environment": self.environment,
            "targets": list(self.targets),
        }

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Self:
        """Read what ``to_dict`` wrote; raises ``ProtocolError``."""
        try:
            return cls(plain["role"], plain["namespace"], plain["environment"], tuple(plain["targets"]))
        except (KeyError, TypeError) as error:
            raise ProtocolError(f"not a grant: {error!r:.80}") from error


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks. ``name`` stands in the audit log; ``service`` is the one service that it may speak for, or empty.

    ``expires`` is in seconds since the epoch. ``key`` is what proved the name, and tells callers apart: ``token:ID``,
    a SPIFFE id, ``oidc:sub:SUBJECT``. ``subjects`` are what identity grants are matched against, and ``makers`` are the
    keys of those who made the token, and the token of whoever made it.
    """

    name: str
    grants: tuple[Grant, ...] = ()
    service: str = ""
    expires: float = field(default=float("inf"))
    key: str = ""
    subjects: tuple[str, ...] = ()
    makers: tuple[str, ...] = ()

    def may(self, permission: Permission, scope: Scope, target: str = "") -> bool:
        """Tell whether some grant gives a permission there."""
        return any(grant.gives(permission, scope, target) for grant in self.grants)

    def may_grant(self, grants: Iterable[Grant]) -> bool:
        """Tell whether the caller is an admin of all that these grants reach."""
        own = [grant for grant in self.grants if Permission.ADMIN in ROLES[grant.role]]
        return all(any(mine.covers(grant) for mine in own) for grant in grants)

    def require_grant(self, grants: Iterable[Grant]) -> None:
        """Raise a 403 unless the caller may give these grants away: nobody gives more than it has."""
        if not self.may_grant(grants):
            raise Fault(
                403,
                "forbidden",
                f"{self.name!r} may not grant this. It needs the role admin over the whole namespace, environment and "
                "targets of the grant",
            )

    def require(self, permission: Permission, scope: Scope = MESH, target: str = "") -> None:
        """Raise a 403 that says what is missing."""
        if not self.may(permission, scope, target):
            roles = ", ".join(name for name, given in ROLES.items() if permission in given)
            where = f"{scope.namespace}/{scope.environment}" + (f", service {target!r}" if target else "")
            raise Fault(
                403, "forbidden", f"{self.name!r} may not {permission.value} in {where}. It needs a role of: {roles}"
            )

    def require_some(self, permission: Permission, scope: Scope | None = None) -> None:
        """Raise a 403 unless the caller may do this for some target of a scope, or of any scope."""
        given = [grant for grant in self.grants if permission in ROLES[grant.role]]
        if not any(scope is None or grant.enters(scope) for grant in given):
            self.require(permission, scope or MESH)

    def require_speaks(self, service: str) -> None:
        """Raise a 403 where the caller speaks for one service, and this is another."""
        if self.service and self.service != service:
            raise Fault(403, "forbidden", f"{self.name!r} speaks for {self.service!r}, and not for {service!r:.200}")

    def require_all(self, permission: Permission, scope: Scope, targets: Iterable[str]) -> None:
        """Raise a 403 unless each target is within reach."""
        for target in dict.fromkeys(targets):
            self.require(permission, scope, target)
