"""One run of ``mcpctl policy test``: what was found, case by case, and what it comes to."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mcp_sdk.exceptions import Finding

if TYPE_CHECKING:
    from mcp_sdk.policy.testing.cases import Case
    from mcp_sdk.policy.testing.coverage import Coverage
    from mcp_sdk.policy.testing.verify import Verified, Verifier

__all__ = ["CaseRun", "Ran", "run_cases"]

EXPLAINED = 50
"""So many failing cases are explained: an explanation looks at every rule."""


@dataclass(frozen=True)
class Ran:
    """One case that ran, how long it took, and the lines that explain a failure."""

    verified: Verified
    seconds: float
    explanation: tuple[str, ...] = ()

    @property
    def lines(self) -> list[str]:
        """What a failure says, a line each."""
        return [*map(str, self.verified.differences), *self.explanation]

    def to_dict(self) -> dict[str, Any]:
        """Give it as plain JSON."""
        case, verified = self.verified.case, self.verified
        return {
            "file": case.at.file,
            "line": case.at.line,
            "column": case.at.column,
            "name": case.name,
            "passed": verified.passed,
            "seconds": round(self.seconds, 6),
            "decision": verified.decision.sentence(),
            "differences": [difference.to_dict() for difference in verified.differences],
            "explanation": list(self.explanation),
        }


@dataclass(frozen=True)
class CaseRun:
    """Everything that a run found. Files with findings keep every case from running."""

    files: tuple[str, ...]
    findings: tuple[Finding, ...] = ()
    ran: tuple[Ran, ...] = ()
    coverage: Coverage | None = None
    fail_under: float = 0.0

    @property
    def failed(self) -> tuple[Ran, ...]:
        """The cases whose decision is not as expected."""
        return tuple(one for one in self.ran if not one.verified.passed)

    @property
    def covered(self) -> bool:
        """Whether the coverage is as high as is asked for."""
        return self.coverage is None or self.coverage.counted().total.percent >= self.fail_under

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong."""
        return not self.findings and not self.failed and self.covered

    def to_dict(self) -> dict[str, Any]:
        """Give it as plain JSON."""
        names = ("code", "severity", "message", "file", "line", "column")
        plain: dict[str, Any] = {
            "passed": self.passed,
            "files": list(self.files),
            "findings": [{name: getattr(finding, name) for name in names} for finding in self.findings],
            "counts": {"cases": len(self.ran), "failed": len(self.failed)},
            "cases": [one.to_dict() for one in self.ran],
        }
        if self.coverage is not None:
            plain["coverage"] = {**self.coverage.to_dict(), "fail_under": self.fail_under}
        return plain


def run_cases(cases: Iterable[Case], verifier: Verifier, coverage: Coverage | None) -> tuple[Ran, ...]:
    """Run cases in order, and note what they cover."""
    ran: list[Ran] = []
    explained = 0
    for case in cases:
        start = time.perf_counter()
        verified = verifier.verify(case)
        seconds = time.perf_counter() - start
        explaining = not verified.passed and explained < EXPLAINED
        explained += explaining
        ran.append(Ran(verified, seconds, verifier.explain(verified) if explaining else ()))
        if coverage is not None:
            coverage.note(case.request, verified.decision)
    return tuple(ran)
