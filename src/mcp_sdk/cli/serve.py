"""``mcpctl serve``: run the control plane as a server."""

from __future__ import annotations

import errno
import os
import re
import shlex
import socket
import stat
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mcp_sdk.cli.arguments import filled, several
from mcp_sdk.cli.command import OK, Command, WrongUsage
from mcp_sdk.cli.output import Output
from mcp_sdk.exceptions import ConfigurationError, MissingExtra

if TYPE_CHECKING:
    from mcp_sdk.server.run import Bind

__all__ = ["COMMAND"]

LOOPBACK = ("127.0.0.1", "::1", "localhost")
HOST, PORT, STORE, MESH = "127.0.0.1", 8600, "sqlite:///mesh.db", "default"
AGAIN = (
    ("store", STORE),
    ("mesh", MESH),
    ("host", None),
    ("port", None),
    ("token_file", None),
    ("tls_certificate", None),
    ("tls_private_key", None),
    ("tls_client_ca", None),
    ("oidc_issuer", None),
    ("oidc_audience", None),
)
"""What makes it the same server when it is started again, and what each is where it is left out."""
NEEDS = (
    ("oidc_issuer", "oidc_audience", "the name that tokens for this server carry"),
    ("oidc_audience", "oidc_issuer", "whose tokens carry that name; none would be taken"),
    ("tls_client_ca", "tls_certificate", "all would be plain HTTP, and nobody's certificate looked at"),
    ("tls_private_key", "tls_certificate", "all would be plain HTTP"),
)
"""What an option does nothing without, and why."""


def _configure(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--store",
        type=filled,
        default=STORE,
        metavar="URL",
        help="where everything is kept (default: sqlite:///mesh.db)",
    )
    parser.add_argument("--host", type=filled, help="address to listen on (default: loopback only)")
    parser.add_argument("--port", type=_port, help="port to listen on (default: 8600)")
    parser.add_argument("--fd", type=int, help="a listening socket that was inherited, instead of host and port")
    parser.add_argument(
        "--mesh", type=filled, default=MESH, help="the mesh's name, which manifests carry (default: default)"
    )
    parser.add_argument("--streams", type=several, default=10_000, help="clients at once (default: 10000)")
    parser.add_argument(
        "--endpoints",
        type=several,
        default=10_000,
        metavar="N",
        help="endpoints announced in one namespace and environment (default: 10000)",
    )
    parser.add_argument(
        "--service-endpoints",
        type=several,
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
    parser.add_argument(
        "--token-file", type=filled, metavar="PATH", help="write the admin's token there, and do not print it"
    )
    parser.add_argument(
        "--new-admin", action="store_true", help="make an admin's token though there were others: nobody has one left"
    )
    parser.add_argument(
        "--behind-proxy", action="store_true", help="something in front ends TLS: listen beyond loopback without it"
    )
    parser.add_argument("--tls-certificate", type=filled, metavar="PATH", help="PEM file; needed beyond loopback")
    parser.add_argument("--tls-private-key", type=filled, metavar="PATH", help="PEM file")
    parser.add_argument("--tls-client-ca", type=filled, metavar="PATH", help="take client certificates of this CA")
    parser.add_argument("--oidc-issuer", type=filled, metavar="URL", help="take bearer tokens of this OpenID provider")
    parser.add_argument("--oidc-audience", type=filled, metavar="NAME", help="the name that those tokens carry")
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


def _check_pairs(args: Namespace) -> None:
    for given, needed, why in NEEDS:
        if getattr(args, given) and not getattr(args, needed):
            option, other = (f"--{name.replace('_', '-')}" for name in (given, needed))
            raise WrongUsage(
                f"{option} {getattr(args, given)} needs {other}: {why}. Add {other}, or leave {option} out"
            )


def _check(args: Namespace, bind: Bind) -> None:
    """Raise what is wrong before anything is made: a token is shown once, and must be of a server that runs."""
    if bind.host not in LOOPBACK and not (args.tls_certificate or args.behind_proxy):
        raise WrongUsage(
            f"{bind.host} is not loopback, and without TLS tokens would be read on the way. "
            "Give --tls-certificate and --tls-private-key, or --behind-proxy where something in front ends TLS"
        )
    if bind.fd is None:
        _check_free(bind)
    if args.token_file:
        _check_writable(Path(args.token_file))


def _address(args: Namespace) -> tuple[str, int]:
    """Give host and port; a socket that was inherited has its own, unless it is of another kind than TCP."""
    said = args.host or HOST, args.port or PORT
    if args.fd is None:
        return said
    with _inherited(args.fd) as held:
        if held.family not in (socket.AF_INET, socket.AF_INET6):
            return said
        host, port = held.getsockname()[:2]
    if args.host or args.port:
        raise WrongUsage(f"--fd {args.fd} listens on {host}, port {port}, already. Leave --host and --port out")
    return host, port


def _inherited(number: int) -> socket.socket:
    mend = "Give the number of a listening socket that whoever starts this leaves open"
    try:
        held = socket.socket(fileno=os.dup(number))
    except (OSError, OverflowError) as error:
        why = error.strerror if isinstance(error, OSError) else "no such number"
        raise ConfigurationError(f"--fd {number} is no open socket: {why}. {mend}") from error
    if held.type != socket.SOCK_STREAM or not held.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        held.close()
        raise ConfigurationError(f"--fd {number} is a socket that does not listen. {mend}")
    return held


def _check_free(bind: Bind) -> None:
    """Listen on every address of the host, as the server will; one of a family that is switched off may be missing."""
    try:
        found = socket.getaddrinfo(bind.host, bind.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise _taken(bind, error) from error
    errors = [tried for family, _, _, _, address in found if (tried := _tried(family, address))]
    bad = [error for error in errors if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)]
    if bad or len(errors) == len(found):
        raise _taken(bind, (bad or errors)[0])


def _tried(family: int, address: tuple[Any, ...]) -> OSError | None:
    try:
        socket.create_server(address, family=family).close()
    except OSError as error:
        return error
    return None


def _taken(bind: Bind, error: OSError) -> ConfigurationError:
    mend = (
        "Stop what listens there, or choose another: --port"
        if error.errno == errno.EADDRINUSE
        else "Mend --host or --port"
    )
    why = str(error.strerror).partition(" (while")[0]
    return ConfigurationError(f"{bind.url} cannot be listened on: {why}. {mend}")


def _run(args: Namespace, output: Output) -> int:
    try:
        from mcp_sdk.server.access.rates import read_rates  # noqa: PLC0415
        from mcp_sdk.server.run import Bind, Prepared, serve  # noqa: PLC0415 - an extra
        from mcp_sdk.server.settings import ServerSettings  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise MissingExtra(error.name or "a package", extra="server", purpose="mcpctl serve") from error
    if not args.staleness >= 1:
        raise WrongUsage(f"--staleness {args.staleness:g}: give a second at least")
    _check_pairs(args)
    try:
        rates = read_rates(args.rate)
    except ConfigurationError as error:
        raise WrongUsage(str(error)) from error
    files = (args.tls_certificate or "", args.tls_private_key or "", args.tls_client_ca or "")
    bind = Bind(*_address(args), args.fd, *files)
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
        oidc_issuer=args.oidc_issuer or "",
        oidc_audience=args.oidc_audience or "",
        rates=rates,
    )
    serve(settings, bind, announce=announce, new_admin=args.new_admin)
    return OK


def _announce(token: str, key: str, url: str, args: Namespace, output: Output) -> None:
    if token and args.token_file:
        with _told("written", args):
            _keep(Path(args.token_file), token)
    with _told("shown", args) if token and not args.token_file else nullcontext():
        _print(token, key, url, args, output)


def _print(token: str, key: str, url: str, args: Namespace, output: Output) -> None:
    output.line(f"control plane on {url}, over {args.store.partition(':')[0]}")
    output.line(f"its public key, for MCP_SDK_TRUSTED_KEYS: {key}")
    if token:
        held = _path(args)
        shown = f"$(cat {shlex.quote(held)})" if held else token
        output.line(f"an admin's token is in {held}:" if held else "an admin's token, shown this once; keep it:")
        output.line(f"\n  export MCP_SDK_CONTROL_PLANE={url}\n  export MCP_SDK_TOKEN={shown}\n")
        output.line("next, in another terminal: the two lines above, then mcpctl check and mcpctl apply policies/")
    else:
        kept = f", and {_path(args)} is left as it is" if args.token_file else ""
        output.line(f"no admin's token was made{kept}, for somebody was let in before")
        output.line(f"where nobody has one left: {_again(args)}")
    output.out.flush()


def _path(args: Namespace) -> str:
    """Give where the token is kept, as it is named from any folder; empty where it is shown."""
    return str(Path(args.token_file).absolute()) if args.token_file else ""


def _again(args: Namespace) -> str:
    """Give the command that makes another admin's token of this server, and not of one beside it."""
    words = ["mcpctl", "serve", "--new-admin"]
    for name, usual in AGAIN:
        given = getattr(args, name)
        if given != usual:
            words += [f"--{name.replace('_', '-')}", _harmless(given) if name == "store" else str(given)]
    return shlex.join([*words, *(["--behind-proxy"] if args.behind_proxy else [])])


def _harmless(url: str) -> str:
    """Give the URL of a store as a log may show it: what proves who asks is ``***``, and has to be typed."""
    scheme, _, rest = url.partition("://")
    who, at, where = rest.rpartition("@")
    if at and (":" in who or "nats" in scheme):  # a name alone proves nothing, but with NATS it may be a token
        url = f"{scheme}://***@{where}"
    return re.sub(r"(?i)((?:pass|token|secret)\w*=)[^&\s]*", r"\1***", url)


@contextmanager
def _told(how: str, args: Namespace) -> Iterator[None]:
    """Say of a token that was made and is lost how to come by another."""
    try:
        yield
    except OSError as error:
        raise ConfigurationError(
            f"an admin's token was made and could not be {how}: {error}. Mend that, and make another: {_again(args)}"
        ) from error


def _check_writable(path: Path) -> None:
    """Open a token's file, and leave what is there as it is."""
    try:
        number, new = _opened(path)
    except OSError as error:
        why = {errno.ELOOP: "it is a link", errno.ENXIO: "it is no file"}.get(error.errno or 0, error.strerror)
        raise ConfigurationError(
            f"--token-file {path} cannot be written: {why}. Give a file in a folder that is there, and may be written"
        ) from error
    os.close(number)
    if new:
        path.unlink()


def _opened(path: Path) -> tuple[int, bool]:
    """Open a file for writing, and say whether that made it; a token goes into no file of somebody else's."""
    how = os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        return os.open(path, how | os.O_CREAT | os.O_EXCL, 0o600), True
    except FileExistsError:
        number = os.open(path, how)
    found = os.fstat(number)
    if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
        os.close(number)
        raise ConfigurationError(f"--token-file {path} is no file of this user's. Remove it, or give another path")
    return number, False


def _keep(path: Path, token: str) -> None:
    """Write a token where nobody else may read it; whatever the file was before."""
    number, _ = _opened(path)
    with os.fdopen(number, "w") as file:
        os.fchmod(number, 0o600)
        os.ftruncate(number, 0)
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
