"""``mcpctl explain``: what would be decided, and why."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mcp_sdk.cli.command import OK, Command, WrongUsage
from mcp_sdk.cli.facts import decision_request
from mcp_sdk.cli.output import Output
from mcp_sdk.cli.plane import add_store, connected, namespace_of
from mcp_sdk.cli.sources import read_models, read_policies
from mcp_sdk.decisions import DecisionRequest, Phase
from mcp_sdk.exceptions import ConfigurationError, ModelError
from mcp_sdk.models import BusinessModel

if TYPE_CHECKING:
    from mcp_sdk.policy.engine import Engine

__all__ = ["COMMAND"]


def _configure(parser: ArgumentParser) -> None:
    parser.add_argument("service", metavar="SERVICE", help="the service that is called")
    parser.add_argument(
        "facts",
        nargs="*",
        default=[],
        metavar="FACT",
        help="order.state=created, principal.mfa=true, request.geo.country=DE",
    )
    parser.add_argument("--operation", default="", metavar="TEXT", help='e.g. "POST /transfers"')
    parser.add_argument("--phase", choices=[phase.value for phase in Phase], default=Phase.INBOUND.value)
    parser.add_argument(
        "-p", "--policies", action="append", metavar="PATH", help="policy files, instead of those in force"
    )
    add_store(parser)


def _run(args: Namespace, output: Output) -> int:
    from mcp_sdk.policy import Engine, explain  # noqa: PLC0415 - the engine's load is for this verb alone

    programs, models, revision = _from_files(args) if args.policies else _from_store(args)
    method, _, path = args.operation.partition(" ")
    request = DecisionRequest(args.service, args.operation, Phase(args.phase), namespace=namespace_of(args))
    said = [f"request.method={method}", f"request.path={path}", f"request.operation={args.operation}"] if path else []
    try:
        request = decision_request(request, [*said, *args.facts], models)
    except (ConfigurationError, ModelError) as error:
        raise WrongUsage(str(error)) from error
    engine = Engine(programs, models, epoch=1, revision=revision)
    explanation = explain(engine, request)
    if not explanation.policies:
        output.say(_ungoverned(engine, request))
    if output.for_machines:
        output.data(explanation.to_dict())
    else:
        output.line(explanation.sentence())
        for policy in explanation.policies:
            applies = "" if policy.applies else f" does not govern {args.operation or 'a call without --operation'}"
            shadow = " (in shadow)" if policy.shadow else ""
            output.line(f"\n{policy.kind} {policy.policy}{shadow}{applies}")
            for rule in policy.rules:
                output.line(f"  {rule}")
    return OK


def _ungoverned(engine: Engine, request: DecisionRequest) -> str:
    """Say that no policy governs a call, and which services the policies of its namespace do govern."""
    namespace = request.namespace
    governed = {policy.service for policy in (*engine.policies, *engine.shadows) if policy.namespace == namespace}
    found = f"those of namespace {namespace!r} govern: {', '.join(sorted(governed)) or 'nothing'}"
    where = f"{request.service!r} in phase {request.phase.value}"
    return f"no policy governs {where}; {found}"


Loaded = tuple[Mapping[str, Any], Mapping[str, BusinessModel], int]


def _from_files(args: Namespace) -> Loaded:
    from mcp_sdk.policy import compile_policies  # noqa: PLC0415 - the compiler is an extra

    models = read_models(args.policies)
    programs = compile_policies(read_policies(args.policies), models, namespace=namespace_of(args))
    return programs, models, 0


def _from_store(args: Namespace) -> Loaded:
    with connected(args) as mesh:
        snapshot = mesh.control_plane.snapshot()
        return snapshot.programs, snapshot.models, snapshot.revision


COMMAND = Command(
    name="explain",
    summary="say what would be decided, and why",
    description="""\
Say what the policies decide of a call, with every rule that was considered and
the clause that failed.

  mcpctl explain order-service order.state=created -s sqlite:///mesh.db
  mcpctl explain transfers --operation "POST /transfers" \\
    transfer.amount=60000 principal.mfa=false -p policies/
""",
    configure=_configure,
    run=_run,
)
