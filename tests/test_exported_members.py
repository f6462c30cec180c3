"""The public surface."""

from __future__ import annotations

import subprocess
import sys

import mcp_sdk

PUBLIC = [
    "Attribute",
    "BusinessModel",
    "Config",
    "ConfigurationError",
    "Decision",
    "DecisionLog",
    "DecisionRequest",
    "Denied",
    "EntityRef",
    "InvalidTransition",
    "Mesh",
    "MeshError",
    "ModelContext",
    "ModelError",
    "NoEndpoint",
    "Outcome",
    "Permit",
    "PolicyError",
    "Principal",
    "Reason",
    "Refused",
    "ReviewRequired",
    "Route",
    "Shed",
    "StepUpRequired",
    "StoreError",
    "Throttled",
    "Transition",
    "Trust",
    "Untranslatable",
    "alistable",
    "carried",
    "context_observer",
    "listable",
    "model_context",
    "requires_permit",
]


def test_the_public_names_are_these() -> None:
    """A name enters or leaves the public surface only by changing this test."""
    assert mcp_sdk.__all__ == PUBLIC


def test_every_public_name_is_there() -> None:
    """What ``__all__`` promises can be imported."""
    assert [name for name in PUBLIC if not hasattr(mcp_sdk, name)] == []


def test_importing_starts_no_thread_and_no_framework() -> None:
    """Importing starts no thread and pulls in no framework, httpx, YAML or native code."""
    heavy = ("fastapi", "flask", "django", "starlette", "httpx", "yaml", "sqlite3", "re2", "xxhash", "cel_expr_python")
    code = f"import sys, threading, mcp_sdk; print(threading.active_count(), [m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "1 []"
