"""``mcpctl create``: make one policy from options, and put it in force beside the others."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter

from mcp_sdk.cli.apply import Heed, publish
from mcp_sdk.cli.command import OK, Command, WrongUsage
from mcp_sdk.cli.output import Output
from mcp_sdk.cli.plane import add_store, connected

__all__ = ["COMMAND", "traffic_policy"]

SUFFIX = "-traffic-policy"
EXAMPLE = """\
  mcpctl create traffic-policy --name order-traffic-policy \\
    --route-rules "when(state='order_created') then route_to(version='v2')
                   else route_to(version='v1')"
"""


def _configure(parser: ArgumentParser) -> None:
    verbs = parser.add_subparsers(title="kinds", metavar="KIND", dest="kind", required=True)
    traffic = verbs.add_parser(
        "traffic-policy",
        help="where calls to a service go",
        description=f"Say where calls to a service go.\n\n{EXAMPLE}",
        formatter_class=RawDescriptionHelpFormatter,
    )
    traffic.add_argument("--name", required=True, help="the policy's name, e.g. order-traffic-policy")
    traffic.add_argument("--route-rules", required=True, metavar="TEXT", help="when(…) then route_to(…) else …")
    traffic.add_argument(
        "--service", help="the service it governs (default: NAME without -traffic-policy, then -service)"
    )
    traffic.add_argument("--dry-run", action="store_true", help="print the policy and change nothing")
    traffic.add_argument("-o", "--output", choices=("table", "json", "yaml"), default="table", help="how to print")
    add_store(traffic)
    parser.set_defaults(output="table")


def traffic_policy(name: str, service: str | None, route_rules: str, namespace: str) -> str:
    """Give the YAML of a TrafficPolicy whose rules are in the text form."""
    if service is None and not name.endswith(SUFFIX):
        raise WrongUsage(f"which service does {name!r} govern? Say it with --service, or name it SERVICE{SUFFIX}")
    target = service or f"{name.removesuffix(SUFFIX)}-service"
    fields = {"name": name, "namespace": namespace}
    return "\n".join(
        (
            "apiVersion: mesh.mcp-sdk.dev/v1alpha1",
            "kind: TrafficPolicy",
            f"metadata: {json.dumps(fields)}",
            "spec:",
            f"  target: {json.dumps({'service': target})}",
            f"  route_rules: {json.dumps(route_rules)}",
            "",
        )
    )


def _run(args: Namespace, output: Output) -> int:
    with connected(args, makes=not args.dry_run) as mesh:
        text = traffic_policy(args.name, args.service, args.route_rules, mesh.identity.namespace)
        current = mesh.control_plane.policies().result(mesh.config.start_timeout)
        made = {f"{args.name}.yaml": text}
        sources = {**(current.sources if current is not None else {}), **made}
        held = current.revision if current is not None else 0
        heed = Heed(made, output)
        revision = publish(mesh, sources, {}, dry_run=args.dry_run, replaces=held, heed=heed)
    if output.for_machines:
        done = {"name": args.name, "revision": revision, "applied": not args.dry_run, "policy": text}
        output.data(heed.beside(done))
    else:
        output.line(text.rstrip() if args.dry_run else f"traffic policy {args.name} is in force as revision {revision}")
    return OK


COMMAND = Command(
    name="create",
    summary="make one policy from options",
    description=f"""\
Make one policy and put it in force beside those that are. A policy of that name
is replaced. Warnings on it, as mcpctl policy check has them, are shown and stop
nothing.

{EXAMPLE}""",
    configure=_configure,
    run=_run,
)
