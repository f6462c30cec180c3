"""The engines by name, with what is to be installed for each, pinned.

A module is imported where its engine is measured, in the environment that has its packages.
"""

from __future__ import annotations

from importlib import import_module
from typing import NamedTuple

from policy_engines.entrant import Entrant

__all__ = ["ENGINES", "Source", "entrant"]


class Source(NamedTuple):
    """Where an engine's class is, and the packages that it imports."""

    module: str
    kind: str
    packages: tuple[str, ...] = ()


ENGINES = {
    "ours": Source("ours", "Ours"),
    "floor": Source("floor", "Floor"),
    "cedar": Source("cedar", "Cedar", ("cedarpy==4.12.2",)),
    "rego-cpp": Source("rego", "Rego", ("regopy==1.5.2",)),
    "casbin": Source("casbin_enforcer", "Plain", ("casbin==1.43.0",)),
    "casbin-fast": Source("casbin_enforcer", "Fast", ("casbin==1.43.0",)),
    "cel-rust": Source("cel_rust", "CelRust", ("common-expression-language==0.10.0",)),
    "cel-cpp": Source("cel_cpp", "CelCpp", ("cel-expr-python==0.1.3",)),
    "flagd": Source("flagd", "Flagd", ("openfeature-flagd-core==2.0.0", "openfeature-sdk==0.10.0")),
}


def entrant(name: str) -> Entrant:
    """Give a new engine."""
    source = ENGINES[name]
    made: Entrant = getattr(import_module(f"policy_engines.{source.module}"), source.kind)()
    return made
