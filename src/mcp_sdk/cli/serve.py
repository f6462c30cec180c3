"""``mcpctl serve``: run the control plane as a server."""

from __future__ import annotations

import errno
import os
import socket
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from mcp_sdk.cli.command import OK, Command, WrongUsage
from mcp_sdk.cli.output import Output
from mcp_sdk.exceptions import ConfigurationError, MissingExtra

if TYPE_CHECKING:
    from mcp_sdk.server.run import Bind

__all__ = ["COMMAND"]

LOOPBACK = ("127.0.0.1", "::1", "localhost")


def _configure(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--store",
        default="sqlite:///mesh.db",
        metavar="URL",
        help="where everything is kept (default: sqlite:///mesh.db)",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: loopback only)")
    parser.add_argument("--port", type=_port, default=8600, help="port to listen on (default: 8600)")
    parser.add_argument("--fd", type=int, help="a listening socket that was inherited, instead of host and port")
    parser.add_argument("--mesh", default="default", help="the mesh's name, which manifests carry (default: default)")
    parser.add_argument("--streams", type=_bound, default=10_000, help="clients at once (default: 10000)")
    parser.add_argument(
        "--endpoints",
        type=_bound,
        default=10_000,
        metavar="N",
        help="endpoints announced in one namespace and environment (default: 10000)",
    )
    parser.add_argument(
        "--service-endpoints",
        type=_bound,
        default=2_000,
        metavar="N",
        help="of these, endpoints of one service (default: 2000)",
    )
    parser.add_argument(
        "--staleness",
        type=float,
        default=30.0,
        metavar="SECONDS",
        help="how long to decide by what is known while the store is away (default: 30)",
    )
    parser.add_argument("--token-file", metavar="PATH", help="write the admin's token there, and do not print it")
    parser.add_argument(
        "--new-admin", action="store_true", help="make an admin's token though there were others: nobody has one left"
    )
    parser.add_argument(
        "--behind-proxy", action="store_true", help="something in front ends TLS: listen beyond loopback without it"
    )
    parser.add_argument("--tls-certificate", default="", metavar="PATH", help="PEM file; needed beyond loopback")
    parser.add_argument("--tls-private-key", default="", metavar="PATH", help="PEM file")
    parser.add_argument("--tls-client-ca", default="", metavar="PATH", help="take client certificates of this CA")
    parser.add_argument("--oidc-issuer", default="", metavar="URL", help="take bearer tokens of this OpenID provider")
    parser.add_argument("--oidc-audience", default="", metavar="NAME", help="the name that those tokens carry")
    parser.add_argument(
        "--rate",
        action="append",
        default=[],
        metavar="KIND=RATE[:BURST]",
        help="how fast one caller may ask, a second: requests=2000:10000, transitions=…, streams=…",
    )


def _port(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 65_536:
        raise ArgumentTypeError(f"{text!r} is no port; ports are 1 to 65535")
    return int(text)


def _bound(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise ArgumentTypeError(f"{text!r:.40} is no bound; give a whole number, 1 at least")
    return int(text)


def _check(args: Namespace, bind: Bind) -> None:
    """Raise what is wrong before anything is made: a token is shown once, and must be of a server that runs."""
    if args.host not in LOOPBACK and args.fd is None and not (args.tls_certificate or args.behind_proxy):
        raise ConfigurationError(
            f"{args.host} is not loopback, and without TLS tokens would be read on the way. "
            "Give --tls-certificate and --tls-private-key, or --behind-proxy where something in front ends TLS"
        )
    if args.oidc_issuer and not args.oidc_audience:
        raise WrongUsage("--oidc-issuer needs --oidc-audience: the name that tokens for this server carry")
    for path in filter(None, (args.tls_certificate, args.tls_private_key, args.tls_client_ca)):
        if not os.access(path, os.R_OK):
            raise ConfigurationError(f"{path} cannot be read")
    if args.fd is None:
        _check_free(args.host, args.port, bind.url)


def _check_free(host: str, port: int, url: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host, port), family=family).close()
    except OSError as error:
        mend = (
            "Stop what listens there, or choose another: --port" if error.errno == errno.EADDRINUSE else "Mend --host"
        )
        why = str(error.strerror).partition(" (while")[0]
        raise ConfigurationError(f"{url} cannot be listened on: {why}. {mend}") from error


def _run(args: Namespace, output: Output) -> int:
    try:
        from mcp_sdk.server.access.rates import read_rates  # noqa: PLC0415
        from mcp_sdk.server.run import Bind, Prepared, serve  # noqa: PLC0415 - an extra
        from mcp_sdk.server.settings import ServerSettings  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise MissingExtra(error.name or "a package", extra="server", purpose="mcpctl serve") from error
    if args.staleness < 1:
        raise ConfigurationError(f"--staleness {args.staleness:g}: give a second at least")
    bind = Bind(args.host, args.port, args.fd, args.tls_certificate, args.tls_private_key, args.tls_client_ca)
    _check(args, bind)

    def announce(prepared: Prepared) -> None:
        _announce(prepared.token, prepared.key, bind.url, args, output)

    settings = ServerSettings(
        store=args.store,
        mesh=args.mesh,
        streams=args.streams,
        endpoints=args.endpoints,
        service_endpoints=args.service_endpoints,
        staleness=args.staleness,
        oidc_issuer=args.oidc_issuer,
        oidc_audience=args.oidc_audience,
        rates=read_rates(args.rate),
    )
    serve(settings, bind, announce=announce, new_admin=args.new_admin)
    return OK


def _announce(token: str, key: str, url: str, args: Namespace, output: Output) -> None:
    if token and args.token_file:
        _keep(Path(args.token_file), token)
    output.line(f"control plane on {url}, over {args.store.partition(':')[0]}")
    output.line(f"its public key, for MCP_SDK_TRUSTED_KEYS: {key}")
    if token:
        shown = f"$(cat {args.token_file})" if args.token_file else token
        output.line("an admin's token, shown this once; keep it:")
        output.line(f"\n  export MCP_SDK_CONTROL_PLANE={url}\n  export MCP_SDK_TOKEN={shown}\n")
        output.line("next, in another terminal: the two lines above, then mcpctl check and mcpctl apply policies/")
    output.out.flush()


def _keep(path: Path, token: str) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(token + "\n")


COMMAND = Command(
    name="serve",
    summary="run the control plane as a server",
    description="""\
Serve the control plane over HTTP. With no options it listens on loopback, keeps
everything in mesh.db here, and prints the first admin's token and what to type
next. Run as many replicas over one shared store as you like.

  mcpctl serve
  mcpctl serve --store postgresql://mesh@db/mesh --host 0.0.0.0 \\
    --tls-certificate tls.crt --tls-private-key tls.key
""",
    configure=_configure,
    run=_run,
)
