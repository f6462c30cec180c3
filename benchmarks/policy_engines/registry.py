"""The engines by name. A module is imported when its engine is asked for, in the environment that has its packages."""

from __future__ import annotations

from importlib import import_module

from policy_engines.entrant import Entrant

__all__ = ["ENGINES", "entrant", "packages_of"]

ENGINES = {
    "ours": "ours:Ours",
    "floor": "floor:Floor",
    "cedar": "cedar:Cedar",
    "rego-cpp": "rego:Rego",
    "casbin": "casbin_enforcer:Plain",
    "casbin-fast": "casbin_enforcer:Fast",
    "cel-rust": "cel_rust:CelRust",
    "cel-cpp": "cel_cpp:CelCpp",
    "flagd": "flagd:Flagd",
}


def entrant(name: str) -> Entrant:
    """Give a new engine."""
    return _kind(name)()


def packages_of(name: str) -> tuple[str, ...]:
    """Give what is to be installed for an engine, pinned."""
    return _kind(name).packages


def _kind(name: str) -> type[Entrant]:
    module, _, kind = ENGINES[name].partition(":")
    found: type[Entrant] = getattr(import_module(f"policy_engines.{module}"), kind)
    return found
