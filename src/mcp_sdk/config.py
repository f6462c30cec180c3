"""Settings: argument over environment over ``[tool.mcp_sdk]`` in ``pyproject.toml``, typed and frozen.

``from_env`` is the only place that reads ``os.environ``. A setting ``ingress`` is ``MCP_SDK_INGRESS`` in the
environment and ``ingress`` in the table.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args

from mcp_sdk.exceptions import ConfigurationError, did_you_mean

__all__ = ["PREFIX", "Config", "Evaluation", "Ingress", "Mode", "Unavailable", "from_env"]

PREFIX = "MCP_SDK_"
Mode = Literal["off", "observe", "enforce"]
Ingress = Literal["mesh", "edge", "open"]
Unavailable = Literal["permit", "refuse"]
Evaluation = Literal["local", "server"]


@dataclass(frozen=True)
class Config:
    """Everything that can be set. Times are in seconds, sizes are counts.

    ``control_plane`` is a URL (``memory:``, ``sqlite:///mesh.db``, ``https://mesh.internal``). ``token`` tells a
    server who this is; ``trusted_keys`` are the public keys (64 hex digits each) whose policies are believed, that of
    the first answer where none is named; ``state_dir`` is where the last good snapshot is kept, nowhere when empty;
    ``tls_ca``, ``tls_certificate`` and ``tls_private_key`` are paths of PEM files. ``mode`` is ``off`` (no work),
    ``observe`` (decide, record, refuse nothing) or ``enforce``. ``unavailable`` says what becomes of requests while no
    policies were ever learned: ``permit`` (as before the mesh was there) or ``refuse`` (503). ``ingress`` says whom to
    believe: ``mesh`` (signed peers), ``edge`` (nobody: our members are stripped), ``open`` (anybody; for development).
    ``evaluation`` is ``local`` or ``server``: a thin client has each decision made by the server, waits
    ``evaluation_timeout`` for it and refuses (503) where none comes. ``fetch_timeout`` is what a request waits for a
    context at most. ``egress_hosts`` are further hosts that get our baggage; the mesh's own services always do.
    ``trusted_proxies`` is the number of proxies in front whose ``X-Forwarded-For`` entries are true.
    ``principal_header`` names a header that a verified peer may send the caller's id in. ``geo_database`` is the path
    of a MaxMind file, ``geo_header`` a header of a verified peer that holds a country code. ``break_glass_file`` is
    where an operator puts the signed word that this service is to refuse nothing for a while, ``break_glass_keys`` are
    the public keys that may sign it.
    """

    service: str = ""
    mesh: str = "default"
    namespace: str = "default"
    environment: str = "default"
    version: str = ""
    instance: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    zone: str = ""
    url: str = ""
    weight: int = 1
    control_plane: str = "memory:"
    token: str = field(default="", repr=False)
    trusted_keys: tuple[str, ...] = ()
    state_dir: str = ""
    tls_ca: str = ""
    tls_certificate: str = ""
    tls_private_key: str = ""
    mode: Mode = "enforce"
    ingress: Ingress = "mesh"
    unavailable: Unavailable = "permit"
    signing_keys: str = field(default="", repr=False)
    pseudonym_key: str = field(default="", repr=False)
    signature_ttl: float = 60.0
    evaluation: Evaluation = "local"
    evaluation_timeout: float = 1.0
    fetch_timeout: float = 0.005
    start_timeout: float = 5.0
    shutdown_timeout: float = 5.0
    queue_size: int = 10_000
    batch_size: int = 500
    linger: float = 0.01
    poll_interval: float = 0.05
    lease: float = 15.0
    max_concurrency: int = 0
    egress_hosts: tuple[str, ...] = ()
    trusted_proxies: int = 0
    principal_header: str = ""
    geo_database: str = ""
    geo_header: str = ""
    propagator_inject: bool = False
    break_glass_file: str = ""
    break_glass_keys: tuple[str, ...] = ()
    debug: bool = False

    def __post_init__(self) -> None:
        for spec in fields(self):
            _check(spec.name, getattr(self, spec.name), str(spec.type))
        for name in ("queue_size", "batch_size", "lease", "signature_ttl", "poll_interval"):
            if not getattr(self, name) > 0:
                raise ConfigurationError(f"{name} is {getattr(self, name)}; it must be above 0")


_SECRETS = ("signing_keys", "pseudonym_key", "token")


def _check(name: str, value: Any, kind: str) -> None:
    if kind in _WORDS:
        if value not in _WORDS[kind]:
            raise ConfigurationError(f"{name} is {value!r}.{did_you_mean(str(value), _WORDS[kind])}")
    elif not isinstance(value, _TYPES[kind]) or (isinstance(value, bool) and kind != "bool"):
        raise ConfigurationError(f"{name} is {_shown(name, value)}, which is no {kind}")


def _shown(name: str, value: Any) -> str:
    return "(hidden)" if name in _SECRETS else repr(value)


_WORDS: dict[str, tuple[str, ...]] = {
    "Mode": get_args(Mode),
    "Ingress": get_args(Ingress),
    "Unavailable": get_args(Unavailable),
    "Evaluation": get_args(Evaluation),
}
_TYPES: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "int": (int,),
    "float": (float, int),
    "bool": (bool,),
    "Mapping[str, str]": (Mapping,),
    "tuple[str, ...]": (tuple,),
}


def _boolean(text: str) -> bool:
    lowered = text.strip().lower()
    if lowered in ("1", "true", "yes", "on"):
        return True
    if lowered in ("", "0", "false", "no", "off"):
        return False
    raise ValueError("write 1 or 0")


def _pairs(text: str) -> dict[str, str]:
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if any("=" not in part for part in parts):
        raise ValueError("write name=value,name=value")
    return {name.strip(): value.strip() for name, _, value in (part.partition("=") for part in parts)}


def _items(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


_READERS: dict[str, Callable[[str], Any]] = {
    "str": str.strip,
    "int": int,
    "float": float,
    "bool": _boolean,
    "Mapping[str, str]": _pairs,
    "tuple[str, ...]": _items,
}


def _read(name: str, kind: str, text: str, where: str) -> Any:
    if kind in _WORDS and text.strip() not in _WORDS[kind]:
        raise ConfigurationError(f"{where}={text!r}.{did_you_mean(text, _WORDS[kind])}")
    try:
        return _READERS.get(kind, str.strip)(text)
    except ValueError as error:
        raise ConfigurationError(f"{where}={_shown(name, text)} is not a {kind}: {error}") from error


def _project_table(directory: Path) -> dict[str, Any]:
    path = directory / "pyproject.toml"
    try:
        table: Any = tomllib.loads(path.read_text()).get("tool", {}).get("mcp_sdk", {})
    except FileNotFoundError:
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, PermissionError) as error:
        raise ConfigurationError(f"{path} cannot be read: {error}") from error
    if not isinstance(table, dict):
        raise ConfigurationError(f"{path}: tool.mcp_sdk is {table!r}; write a table [tool.mcp_sdk]")
    return table


def _from_table(table: Mapping[str, Any], kinds: Mapping[str, str]) -> dict[str, Any]:
    for name in table:
        if name not in kinds:
            raise ConfigurationError(
                f"[tool.mcp_sdk] in pyproject.toml: unknown key {name!r}.{did_you_mean(name, kinds)}"
            )
    return {name: tuple(value) if isinstance(value, list) else value for name, value in table.items()}


def _from_environment(environ: Mapping[str, str], kinds: Mapping[str, str]) -> dict[str, Any]:
    found = {}
    for name, kind in kinds.items():
        variable = PREFIX + name.upper()
        if variable in environ:
            found[name] = _read(name, kind, environ[variable], variable)
    return found


def from_env(environ: Mapping[str, str] | None = None, *, directory: Path | None = None, **arguments: Any) -> Config:
    """Give the settings of this process.

    ``environ`` is ``os.environ`` unless given; ``directory`` is where ``pyproject.toml`` is looked for, the working
    directory unless given; ``arguments`` win over both. The service's name falls back to ``OTEL_SERVICE_NAME``. Raises
    ``ConfigurationError`` that names the variable, and its value unless that is a key.
    """
    environ = os.environ if environ is None else environ
    kinds = {spec.name: str(spec.type) for spec in fields(Config)}
    for name in arguments:
        if name not in kinds:
            raise ConfigurationError(f"unknown setting {name!r}.{did_you_mean(name, kinds)}")
    values = _from_table(_project_table(directory or Path.cwd()), kinds)
    values |= _from_environment(environ, kinds)
    values |= {name: value for name, value in arguments.items() if value is not None}
    values.setdefault("service", environ.get("OTEL_SERVICE_NAME", ""))
    return Config(**values)
