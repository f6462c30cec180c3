"""The gate's sessions: ``nox -l`` lists them, ``nox -s tests-3.11`` runs one, ``nox`` runs them all but bench."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import nox

nox.options.default_venv_backend = "uv|venv"
nox.options.reuse_existing_virtualenvs = True
nox.options.error_on_missing_interpreters = bool(os.environ.get("CI"))
nox.options.sessions = [
    "lint",
    "types",
    "imports",
    "tests",
    "services",
    "integrations",
    "minimums",
    "api",
    "docs",
    "examples",
    "build",
]

HERE = Path(__file__).parent
PYTHONS = ["3.11", "3.12", "3.13"]
MEMBERS = sorted(path.parent.name for path in (HERE / "integrations").glob("*/pyproject.toml"))
PINS = ("-c", "constraints.txt")
FAULTS = (
    "tests/server/test_many_streams.py",
    "integrations/postgres/tests/test_partition.py",
    "integrations/postgres/tests/test_halted.py",
    "integrations/redis/tests/test_halted.py",
    "integrations/nats/tests/test_halted.py",
)
SCHEMATHESIS = "schemathesis==4.32.5"
TOOLS = ("hypothesis", "sybil", "httpx", "uvicorn", "gunicorn", "websockets", "opentelemetry-sdk")


def _versions(member: str) -> dict[str, list[str]]:
    table = tomllib.loads((HERE / "integrations" / member / "pyproject.toml").read_text())
    found: dict[str, list[str]] = table.get("tool", {}).get("mcp-sdk", {}).get("versions", {})
    return found


def _install(session: nox.Session, *more: str) -> None:
    """Install this checkout and every integration, pinned."""
    session.install(*PINS, "-r", "requirements.txt", *more)


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Run the tests of the core and of the integrations on one Python; mutants and servers are for the first alone."""
    _install(session)
    slow = ("--ignore=integrations/demo/tests/test_mutations.py", "-m", "not services")
    session.run("pytest", *(() if session.python == PYTHONS[0] else slow), *session.posargs)


@nox.session(python=PYTHONS[0])
def nightly(session: nox.Session) -> None:
    """Compare 100 000 generated expressions with cel-cpp, break every policy of the demo, work a store hard."""
    _install(session)
    session.run("pytest", "tests/policy/cel/test_codegen.py", *session.posargs, env={"MCP_SDK_TEST_EXAMPLES": "100000"})
    session.run("pytest", "integrations/demo/tests/test_mutations.py", env={"MCP_SDK_DEMO_MUTANTS": "all"})
    session.run("pytest", "integrations/redis/tests/test_agreement.py", env={"MCP_SDK_TEST_EXAMPLES": "2000"})


@nox.session(python=PYTHONS[0])
def faults(session: nox.Session) -> None:
    """Break networks, stores and clients for minutes: a partition, a halted store, 10 000 streams. Needs root."""
    _install(session)
    long = {"MCP_SDK_TEST_LONG": "1", "MCP_SDK_TEST_SERVICES": "required"}
    session.run("pytest", "-s", *FAULTS, *session.posargs, env=long)


@nox.session(python=PYTHONS[0])
def services(session: nox.Session) -> None:
    """Run the tests that need servers; a server that is missing fails here and skips elsewhere."""
    _install(session)
    session.run("pytest", "-m", "services", *session.posargs, env={"MCP_SDK_TEST_SERVICES": "required"})


@nox.session(python=PYTHONS[0])
def api(session: nox.Session) -> None:
    """Ask a replica by its own OpenAPI document, with every check of schemathesis."""
    _install(session, SCHEMATHESIS)
    session.run("pytest", "tests/server/test_openapi.py", *session.posargs, env={"MCP_SDK_TEST_API": "required"})


@nox.session(python=PYTHONS[0])
@nox.parametrize("member", [member for member in MEMBERS if _versions(member)])
@nox.parametrize("age", ["oldest", "newest"])
def integrations(session: nox.Session, age: str, member: str) -> None:
    """Run one integration's tests at its framework's oldest supported or newest version."""
    pins = _versions(member)["oldest"] if age == "oldest" else []
    session.install("-e", ".[policy,httpx,jwt,cli,testing]", "-e", f"integrations/{member}[test]", *TOOLS, *pins)
    session.run("pytest", f"integrations/{member}/tests", *session.posargs)


@nox.session(python=PYTHONS[0], venv_backend="uv")
def minimums(session: nox.Session) -> None:
    """Run the core's tests at the lowest direct dependencies that are declared."""
    session.install("--resolution=lowest-direct", "-e", ".[policy,httpx,jwt,geo,cli,testing]")
    tools = "hypothesis uvicorn gunicorn websockets flask django attrs pydantic opentelemetry-sdk sqlalchemy sybil"
    session.install(*tools.split(), "fastapi", "msgspec", "prometheus-client")
    session.run("pytest", "tests", *session.posargs)


@nox.session(python=PYTHONS[0])
def types(session: nox.Session) -> None:
    """Check types: mypy strict on all code, pyright too on the public names as a user writes them."""
    _install(session, "mypy", "pyright")
    session.run("mypy")
    session.run("pyright", "tests/typing", env={"PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"})


@nox.session(python=PYTHONS[0])
def imports(session: nox.Session) -> None:
    """Check who imports whom, and that importing the package stays light."""
    _install(session, "import-linter")
    session.run("lint-imports")
    session.run("python", "benchmarks/imports.py", "--check")


@nox.session(python=PYTHONS[0])
def lint(session: nox.Session) -> None:
    """Check style and formatting with ruff."""
    session.install(*PINS, "ruff")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session(python=PYTHONS[0])
def docs(session: nox.Session) -> None:
    """Run every code block of the README and of the pages under docs."""
    _install(session, "sybil")
    session.run("pytest", "docs", "README.md", *session.posargs)


@nox.session(python=PYTHONS[0])
def examples(session: nox.Session) -> None:
    """Run every example, and the demo as a user does."""
    _install(session)
    session.run("pytest", "examples", *session.posargs)
    session.run("mcpctl", "demo", "shop")


@nox.session(python=PYTHONS[0])
def bench(session: nox.Session) -> None:
    """Measure what has a budget, beside its references, and print the tables of docs/benchmarks.md."""
    _install(session, "opentelemetry-sdk", "opentelemetry-instrumentation-asgi", "sentry-sdk")
    for script in sorted((HERE / "benchmarks").glob("*.py")):
        session.run("python", str(script.relative_to(HERE)), *session.posargs)


@nox.session(python=PYTHONS[0])
def build(session: nox.Session) -> None:
    """Build every wheel, install them all into an empty environment, and import them."""
    session.install("uv")
    out = Path(session.create_tmp()).resolve() / "wheels"
    for folder in (HERE, *(HERE / "integrations" / member for member in MEMBERS)):
        session.run("uv", "build", "--wheel", "--out-dir", str(out), str(folder), silent=True)
    empty = out.parent / "empty"
    session.run("uv", "venv", "--clear", str(empty), "--python", sys.executable, silent=True)
    wheels = sorted(map(str, out.glob("*.whl")))
    python = str(empty / "bin" / "python")
    session.run("uv", "pip", "install", "--python", python, *wheels)
    names = ["mcp_sdk", *(f"mcp_sdk_{member}" for member in MEMBERS)]
    subprocess.run([python, "-c", f"import {', '.join(names)}"], check=True, cwd=out)
