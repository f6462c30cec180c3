"""The control plane that a verb talks to, named by ``--store`` or the environment."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mcp_sdk.cli.arguments import checked, environment, namespace
from mcp_sdk.cli.command import WrongUsage
from mcp_sdk.cli.servers import greet, is_server
from mcp_sdk.config import Config, from_env
from mcp_sdk.exceptions import ConfigurationError, StoreUnavailable
from mcp_sdk.mesh import Mesh
from mcp_sdk.ports import Status
from mcp_sdk.protocol.frames import LOOKER

__all__ = ["add_scope", "add_store", "configured", "connected", "namespace_of", "opened", "require_file"]


def add_scope(parser: ArgumentParser) -> None:
    """Add the options that say which part of the mesh is meant."""
    parser.add_argument("-n", "--namespace", type=namespace, help="namespace (MCP_SDK_NAMESPACE, else default)")
    parser.add_argument("-e", "--environment", type=environment, help="environment (MCP_SDK_ENVIRONMENT, else default)")


def add_store(parser: ArgumentParser) -> None:
    """Add the options that say which control plane is meant."""
    parser.add_argument(
        "-s",
        "--store",
        metavar="URL",
        help="control plane: sqlite:///mesh.db, or https://mesh.internal, which is told MCP_SDK_TOKEN "
        "(else MCP_SDK_CONTROL_PLANE, else [tool.mcp_sdk])",
    )
    add_scope(parser)


def namespace_of(args: Namespace) -> str:
    """Give the namespace that ``args`` or the settings name, for files that are looked at without a control plane.

    Raises ``WrongUsage`` where the settings name what is no name.
    """
    return checked(from_env(service=LOOKER, url="", namespace=args.namespace, environment=args.environment)).namespace


def configured(args: Namespace) -> Config:
    """Give the settings that ``args`` name.

    Raises ``ConfigurationError`` for a control plane that does not last, ``WrongUsage`` for a scope that is no name.
    """
    config = from_env(
        service=LOOKER,
        url="",
        control_plane=args.store,
        namespace=args.namespace,
        environment=args.environment,
        evaluation="local",  # a thin client is told no policies
    )
    if config.control_plane == "memory:":
        raise ConfigurationError(
            "which control plane? memory: is gone when this command ends. Say it: -s sqlite:///mesh.db, "
            "MCP_SDK_CONTROL_PLANE, or control_plane under [tool.mcp_sdk] in the pyproject.toml of this folder"
        )
    return checked(config)


@contextmanager
def connected(args: Namespace, *, makes: bool = False) -> Iterator[Mesh]:
    """Give a mesh that is connected as ``args`` say; ``makes`` lets a SQLite file be made that is not there.

    Raises ``WrongUsage`` where there is none, ``ConfigurationError`` where they name no control plane that lasts,
    ``StoreUnavailable`` when nobody answers, and ``StoreError`` where a server refuses.
    """
    config = configured(args)
    if not makes:
        require_file(config)
    if is_server(config):
        greet(config)
    with opened(config) as mesh:
        yield mesh


def require_file(config: Config) -> None:
    """Raise ``WrongUsage`` where a SQLite file is not there: to look at a mistyped name must not make it."""
    scheme, _, rest = config.control_plane.partition("://")
    path = Path(rest.removeprefix("/"))
    if scheme == "sqlite" and path.parent.is_dir() and not path.exists():
        raise WrongUsage(f"{path} does not exist. A service that runs on it makes it, and so does: mcpctl apply")


@contextmanager
def opened(config: Config) -> Iterator[Mesh]:
    """Give a mesh that is connected; raises ``StoreUnavailable`` with why nothing came, as far as anybody knows."""
    with Mesh(config) as mesh:
        plane = mesh.control_plane
        if plane.status() is Status.UNAVAILABLE:
            raise StoreUnavailable(plane.why or _silence(config))
        yield mesh


def _silence(config: Config) -> str:
    scheme = config.control_plane.partition(":")[0]
    return f"the {scheme} store did not answer in {config.start_timeout:g} s. Is the path or host right?"
