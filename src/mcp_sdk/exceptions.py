"""The family of errors, drawn as a tree.

MeshError
├── ConfigurationError      a setting, URL or declaration that cannot work
│   ├── UnknownPlugin       no store or control plane is installed for a URL
│   └── MissingExtra        an optional dependency is not installed
├── ModelError              a business model, state or attribute that does not fit
│   ├── UnknownModel
│   └── UnknownState
├── InvalidTransition       a move that the model forbids, where the model says ``enforce``
├── PolicyError             policies that do not check; carries every finding with its place
├── BaggageError            a baggage header that cannot be read
├── RecordError             a record of the decision log that cannot be read
├── StoreError              the store refused or could not be reached
│   ├── StoreUnavailable
│   │   ├── StoreDenied     it does not let this process write, whatever it writes
│   │   └── StoreUnanswered it may have done what was asked, and did not say so
│   └── RevisionConflict    somebody else published first
├── ProtocolError           what a server or client of a control plane said cannot be read or believed
├── Untranslatable          a policy's clause that cannot become a filter of a database
├── NoEndpoint              no endpoint of a service serves the decided subset
└── Refused                 a decision that refuses, of ``@requires_permit`` and transports (in ``decisions``)

A message says what happened, the value, where, and how to mend it. None of these reaches a user's business call through
capture, except ``InvalidTransition``.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

__all__ = [
    "BaggageError",
    "ConfigurationError",
    "Finding",
    "InvalidTransition",
    "MeshError",
    "MissingExtra",
    "ModelError",
    "NoEndpoint",
    "PolicyError",
    "ProtocolError",
    "RecordError",
    "RevisionConflict",
    "StoreDenied",
    "StoreError",
    "StoreUnanswered",
    "StoreUnavailable",
    "UnknownModel",
    "UnknownPlugin",
    "UnknownState",
    "Untranslatable",
    "did_you_mean",
]


def did_you_mean(value: str, valid: Iterable[str]) -> str:
    """Give the tail of an error message that names the nearest valid value and the valid ones.

    ``value`` is what was written, ``valid`` what could have been; the text starts with a space, or is empty when
    there is nothing to say.
    """
    known = sorted(set(valid))
    close = difflib.get_close_matches(value, known, n=1)
    nearest = f" Did you mean {close[0]!r}?" if close else ""
    shown = ", ".join(known[:12]) + (", …" if len(known) > 12 else "")
    return f"{nearest} Known: {shown}." if known else nearest


class MeshError(Exception):
    """Base of every error that this package raises."""


class ConfigurationError(MeshError):
    """A setting, URL or declaration that cannot work."""


class UnknownPlugin(ConfigurationError):
    """No store or control plane is installed for the scheme of a URL."""


class MissingExtra(ConfigurationError):
    """An optional dependency is needed and not installed; the message says what to install."""

    def __init__(self, package: str, *, extra: str, purpose: str) -> None:
        self.package: str = package
        self.extra: str = extra
        super().__init__(f'{purpose} needs {package}. Install it with: pip install "mcp-sdk[{extra}]"')


class ModelError(MeshError):
    """A business model, state or attribute that does not fit its declaration."""


class UnknownModel(ModelError):
    """A model that was never declared."""

    def __init__(self, name: str, known: Iterable[str], *, where: str = "") -> None:
        self.name: str = name
        self.where: str = where
        at = f"{where}: " if where else ""
        super().__init__(f"{at}unknown model {name!r}.{did_you_mean(name, known)}")


class UnknownState(ModelError):
    """A state that the model does not declare."""

    def __init__(self, model: str, state: str, known: Iterable[str], *, where: str = "") -> None:
        self.model: str = model
        self.state: str = state
        self.where: str = where
        at = f"{where}: " if where else ""
        super().__init__(f"{at}unknown state {state!r} of model {model!r}.{did_you_mean(state, known)}")


class InvalidTransition(MeshError):
    """A move that the model forbids; raised only where the model says ``enforce``."""

    def __init__(
        self, model: str, entity_id: str, from_state: str | None, to_state: str, allowed: Iterable[str]
    ) -> None:
        self.model: str = model
        self.entity_id: str = entity_id
        self.from_state: str | None = from_state
        self.to_state: str = to_state
        moves = ", ".join(sorted(allowed)) or "nothing"
        super().__init__(
            f"{model} {entity_id} cannot go from {from_state!r} to {to_state!r}; {from_state!r} allows: {moves}."
        )


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing found wrong in a policy: coded, placed and mendable.

    ``line`` and ``column`` count from 1; 0 means the place is not known. ``severity`` is ``error``, ``warning`` or
    ``note``.
    """

    code: str
    message: str
    file: str = "<policy>"
    line: int = 0
    column: int = 0
    severity: str = "error"

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.severity} {self.code}: {self.message}"


class PolicyError(MeshError):
    """Policies that do not check. Nothing that is in force changes.

    ``findings`` holds every one; the message shows the first twenty and counts the rest.
    """

    SHOWN = 20

    def __init__(self, findings: Iterable[Finding]) -> None:
        self.findings: tuple[Finding, ...] = tuple(findings)
        lines = [str(finding) for finding in self.findings[: self.SHOWN]]
        rest = len(self.findings) - self.SHOWN
        super().__init__("\n".join(lines + ([f"… and {rest} more"] if rest > 0 else [])))


class RecordError(MeshError):
    """A record of the decision log cannot be read; ``line`` is its place in the log, from 1, 0 when unknown."""

    def __init__(self, message: str, line: int = 0) -> None:
        self.line = line
        super().__init__(f"line {line}: {message}" if line else message)


class BaggageError(MeshError):
    """A baggage header that cannot be read; ``kind`` is a drop reason, safe as a metric label."""

    def __init__(self, kind: str, message: str) -> None:
        self.kind = kind
        super().__init__(message)


class StoreError(MeshError):
    """The store refused what was asked of it."""


class StoreUnavailable(StoreError):
    """The store cannot be reached, is locked, or did not answer in time. Trying again later may work."""


class StoreDenied(StoreUnavailable):
    """The store does not let this process append, whatever it appends: a credential expired, a grant is gone.

    It judged nothing of what was sent; once somebody has mended that, trying again works.
    """


class StoreUnanswered(StoreUnavailable):
    """What was asked of the store may have been done: no answer came, or one that leaves it open. Look before again."""


class RevisionConflict(StoreError):
    """Somebody else published first: ``expected`` is not the ``actual`` revision."""

    def __init__(self, what: str, *, expected: int, actual: int) -> None:
        self.expected: int = expected
        self.actual: int = actual
        super().__init__(f"{what}: expected revision {expected}, found {actual}. Read it again and retry.")


class ProtocolError(MeshError):
    """What the other side of a connection said cannot be read, or is not to be believed."""


class Untranslatable(MeshError):
    """A clause of a policy that cannot become a filter of a database: ``origin`` says which, ``why`` says why."""

    def __init__(self, origin: object, why: str) -> None:
        self.origin: object = origin
        self.why: str = why
        super().__init__(
            f"{origin} cannot become a filter: {why}. Or list with superset=True and ask residue.holds of each row."
        )


class NoEndpoint(MeshError):
    """No endpoint of a service serves the decided subset."""

    def __init__(self, service: str, subset: str, available: Iterable[str] = ()) -> None:
        self.service: str = service
        self.subset: str = subset
        here = ", ".join(sorted(available)) or "none"
        super().__init__(
            f"no endpoint of {service!r} serves {subset or 'any subset'}. Registered: {here}. "
            f"Start one with MCP_SDK_SERVICE={service} or change the route."
        )
