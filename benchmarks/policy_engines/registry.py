"""The engines by name. A module is imported when its engine is asked for, in the environment that has its packages."""

from __future__ import annotations

from importlib import import_module

from policy_engines.entrant import Entrant

__all__ = ["ENGINES", "entrant"]

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
    module, _, kind = ENGINES[name].partition(":")
    made: Entrant = getattr(import_module(f"policy_engines.{module}"), kind)()
    return made
