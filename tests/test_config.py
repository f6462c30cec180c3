"""Settings: argument over environment over ``pyproject.toml``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mcp_sdk import Config, ConfigurationError
from mcp_sdk.config import from_env


def project(directory: Path, table: str) -> Path:
    """Write a ``pyproject.toml``."""
    (directory / "pyproject.toml").write_text(f"[tool.mcp_sdk]\n{table}\n")
    return directory


def test_arguments_win_over_environment_over_project(tmp_path: Path) -> None:
    """Each setting comes from the nearest place that has it."""
    place = project(tmp_path, 'service = "project"\nzone = "project"\nmesh = "project"\negress_hosts = ["a.example"]')
    environ = {"MCP_SDK_SERVICE": "environment", "MCP_SDK_ZONE": "environment"}
    config = from_env(environ, directory=place, service="argument", version=None)
    assert (config.service, config.zone, config.mesh) == ("argument", "environment", "project")
    assert config.egress_hosts == ("a.example",)


def test_everything_has_a_default(tmp_path: Path) -> None:
    """Nothing has to be configured."""
    assert from_env({}, directory=tmp_path) == Config()


def test_the_service_falls_back_to_opentelemetry(tmp_path: Path) -> None:
    """Who has named the service for its traces need not name it again."""
    assert from_env({"OTEL_SERVICE_NAME": "shop"}, directory=tmp_path).service == "shop"
    assert from_env({"OTEL_SERVICE_NAME": "shop", "MCP_SDK_SERVICE": "own"}, directory=tmp_path).service == "own"


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("queue_size", "7", 7), ("linger", "0.5", 0.5), ("debug", "on", True), ("debug", "", False),
        ("debug", "No", False),
        ("labels", "class=performance, tier = gold", {"class": "performance", "tier": "gold"}),
        ("egress_hosts", "a.example, b.example,", ("a.example", "b.example")), ("service", " shop ", "shop"),
        ("mode", "observe", "observe"),
    ],
)  # fmt: skip
def test_variables_are_read_by_type(name: str, text: str, value: Any, tmp_path: Path) -> None:
    """``MCP_SDK_`` and the setting's name in capitals."""
    assert getattr(from_env({f"MCP_SDK_{name.upper()}": text}, directory=tmp_path), name) == value


@pytest.mark.parametrize(
    ("variable", "text", "message"),
    [
        ("MCP_SDK_QUEUE_SIZE", "many", "MCP_SDK_QUEUE_SIZE='many' is not a int"),
        ("MCP_SDK_DEBUG", "maybe", "MCP_SDK_DEBUG='maybe' is not a bool: write 1 or 0"),
        ("MCP_SDK_LABELS", "fast", "MCP_SDK_LABELS='fast' .*: write name=value"),
        ("MCP_SDK_MODE", "enforced", "MCP_SDK_MODE='enforced'. Did you mean 'enforce'"),
        ("MCP_SDK_INGRESS", "egde", "MCP_SDK_INGRESS='egde'. Did you mean 'edge'"),
        ("MCP_SDK_QUEUE_SIZE", "0", "queue_size is 0; it must be above 0"),
        ("MCP_SDK_LEASE", "nan", "lease is nan; it must be above 0"),
    ],
)
def test_a_wrong_variable_is_named(variable: str, text: str, message: str, tmp_path: Path) -> None:
    """With its value and how to mend it."""
    with pytest.raises(ConfigurationError, match=message):
        from_env({variable: text}, directory=tmp_path)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ('ingres = "edge"', r"\[tool.mcp_sdk\] in pyproject.toml: unknown key 'ingres'. Did you mean 'ingress'"),
        ('queue_size = "many"', "queue_size is 'many', which is no int"),
        ("queue_size = true", "queue_size is True, which is no int"),
        ("signing_keys = 3", r"signing_keys is \(hidden\), which is no str"),
        ('mode = "of"', "mode is 'of'. Did you mean 'off'"),
        ("mode = ", "pyproject.toml cannot be read"),
    ],
)
def test_a_wrong_table_is_an_error(table: str, message: str, tmp_path: Path) -> None:
    """An unknown key or a wrong type names the nearest or the type."""
    with pytest.raises(ConfigurationError, match=message):
        from_env({}, directory=project(tmp_path, table))


def test_a_table_that_is_none_is_an_error(tmp_path: Path) -> None:
    """``tool.mcp_sdk`` holds settings, not a value."""
    (tmp_path / "pyproject.toml").write_text("[tool]\nmcp_sdk = 3\n")
    with pytest.raises(ConfigurationError, match=r"tool.mcp_sdk is 3"):
        from_env({}, directory=tmp_path)


def test_an_unknown_argument_is_an_error(tmp_path: Path) -> None:
    """Settings are named like the fields."""
    with pytest.raises(ConfigurationError, match=r"unknown setting 'servce'. Did you mean 'service'"):
        from_env({}, directory=tmp_path, servce="shop")


def test_keys_are_never_shown() -> None:
    """Neither in the representation nor in errors."""
    config = Config(signing_keys="kid:c2VjcmV0", pseudonym_key="c2VjcmV0")
    assert "c2VjcmV0" not in repr(config)
