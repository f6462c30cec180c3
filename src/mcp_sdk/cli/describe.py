"""``mcpctl describe``: everything that is known of one policy, service, model or entity."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from mcp_sdk.cli.asking import ask, scope_of
from mcp_sdk.cli.command import OK, Command, WrongUsage
from mcp_sdk.cli.documents import documents
from mcp_sdk.cli.entities import (
    Listing,
    attributes,
    context_of,
    model_of,
    moment,
    plain_row,
    services_of,
    shown,
    transition_row,
)
from mcp_sdk.cli.output import Output
from mcp_sdk.cli.plane import add_store, connected, opened
from mcp_sdk.cli.servers import is_server
from mcp_sdk.cli.times import short
from mcp_sdk.context import EntityRef
from mcp_sdk.exceptions import did_you_mean
from mcp_sdk.mesh import Mesh
from mcp_sdk.snapshot import Override

__all__ = ["COMMAND"]

RULES = ("rule", "when", "then", "place")
ENDPOINTS = ("url", "version", "instance", "weight", "labels")
POLICIES = ("kind", "policy", "operations", "default", "shadow")
HISTORY = ("at", "from", "to", "revision", "status", "source", "attributes")
STATES = ("state", "may become")
FACTS = ("attribute", "type", "scale", "travels", "sensitive", "priority")
Described = tuple[dict[str, Any], dict[str, Listing], str]
"""Fields; tables by title, each with its columns; and a text that ends it."""


def _configure(parser: ArgumentParser) -> None:
    parser.add_argument("what", metavar="WHAT", help="policy, service, model, or the name of a model")
    parser.add_argument("name", metavar="NAME", help="its name, or the entity's id")
    parser.add_argument("--limit", type=int, default=20, metavar="N", help="transitions of an entity (default: 20)")
    add_store(parser)


def _run(args: Namespace, output: Output) -> int:
    with connected(args) as mesh:
        fields, tables, text = _KINDS.get(args.what, _entity)(mesh, args)
    if output.for_machines:
        listed = {title: [plain_row(columns, row) for row in rows] for title, (columns, rows) in tables.items()}
        output.data(plain_row(list(fields), list(fields.values())) | listed | ({"source": text} if text else {}))
    else:
        _print(fields, tables, text, output)
    return OK


def _print(fields: Mapping[str, Any], tables: Mapping[str, Listing], text: str, output: Output) -> None:
    width = max(map(len, fields))
    for name, value in fields.items():
        output.line(f"{name.ljust(width)}  {shown(value)}".rstrip())
    for title, (columns, rows) in tables.items():
        output.line()
        if rows:
            output.table(columns, [[shown(cell) for cell in row] for row in rows], title=title)
        else:
            output.line(f"{title}: none")
    if text:
        output.line(f"\n{text.rstrip()}")


def _policy(mesh: Mesh, args: Namespace) -> Described:
    snapshot = mesh.control_plane.snapshot()
    found = [policy for policy in snapshot.programs.get("policies", ()) if policy["name"] == args.name]
    if not found:
        known = did_you_mean(args.name, [policy["name"] for policy in snapshot.programs.get("policies", ())])
        raise WrongUsage(f"no policy {args.name!r} is in force.{known}")
    policy = found[0]
    stored = mesh.control_plane.policies(snapshot.revision).result(mesh.config.start_timeout)
    sources = stored.sources if stored is not None else {}
    written = [each.text for each in documents(sources) if each.name == args.name and each.kind == policy["kind"]]
    fields = _governs(policy) | {
        "revision": snapshot.revision,
        "author": stored.author if stored is not None else "",
        "applied at": stored.created_at if stored is not None else "",
        "file": f"{policy['file']}:{policy['line']}",
    }
    return fields, {"rules": (RULES, _rules(policy, snapshot.programs))}, "".join(written).removeprefix("---").strip()


def _governs(policy: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "kind": policy["kind"],
        "name": policy["name"],
        "in force for": f"{policy['service']} in namespace {policy['namespace']}",
        "operations": policy["operations"] or ["every operation"],
        "default": _effect(policy["default"]),
        "shadow": bool(policy["shadow"]),
    }


def _rules(policy: Mapping[str, Any], programs: Mapping[str, Any]) -> list[list[Any]]:
    from mcp_sdk.policy.program import RuleRow  # noqa: PLC0415 - the engine's load is for this verb alone

    rules = [RuleRow.of(row) for row in policy["rules"]]
    return [
        [rule.name, rule.clause, _effect(programs["effects"][rule.effect]), f"{policy['file']}:{rule.line}"]
        for rule in rules
    ]


def _effect(effect: Any) -> str:
    if not isinstance(effect, Mapping):
        return "" if effect is None else str(effect)
    return " ".join(_part(name, value) for name, value in sorted(effect.items(), key=lambda item: item[0] != "effect"))


def _part(name: str, value: Any) -> str:
    if name == "effect":
        return str(value)
    if name == "split":
        return "split " + " ".join(f"{share}:{weight}" for share, weight in value)
    if isinstance(value, Mapping):
        return f"{name} {value['clause']}" if "clause" in value else f"{name} {_effect(value)}"
    return f"{name}={value}"


def _service(mesh: Mesh, args: Namespace) -> Described:
    snapshot, endpoints = mesh.control_plane.snapshot(), mesh.control_plane.endpoints(args.name)
    policies = [policy for policy in snapshot.programs.get("policies", ()) if policy["service"] == args.name]
    if not endpoints and not policies:
        nearest = did_you_mean(args.name, services_of(mesh))
        raise WrongUsage(f"no service {args.name!r} is registered or governed.{nearest}")
    fields = {
        "service": args.name,
        "endpoints": len(endpoints),
        "policies": len(policies),
        "revision": snapshot.revision,
    } | _glass(mesh, args)
    alive = [[each.url, each.version, each.instance, each.weight, dict(each.labels)] for each in endpoints]
    governed = [
        [each["kind"], each["name"], each["operations"] or "all", _effect(each["default"]), each["shadow"]]
        for each in policies
    ]
    return fields, {"endpoints": (ENDPOINTS, alive), "policies": (POLICIES, governed)}, ""


def _glass(mesh: Mesh, args: Namespace) -> dict[str, str]:
    """Tell until when the service carries no refusal out, and why; nothing where it does."""
    override = _override(mesh, args)
    if override is None or override.until <= datetime.now(UTC):
        return {}
    return {"glass": f"broken: it refuses nothing until {short(override.until)} ({override.reason})"}


def _override(mesh: Mesh, args: Namespace) -> Override | None:
    if is_server(mesh.config):
        said = ask(args, "GET", "/v1/overrides", params=scope_of(args))["overrides"].get(args.name)
        return None if said is None else Override.from_dict(said)
    with opened(replace(mesh.config, service=args.name)) as service:  # it is told to the service alone
        return service.control_plane.override


def _model(mesh: Mesh, args: Namespace) -> Described:
    model, snapshot = model_of(mesh, args.name), mesh.control_plane.snapshot()
    fields = {
        "model": model.name,
        "key": model.key,
        "state": model.state,
        "principal": model.principal,
        "moves": "enforced" if model.enforce else "recorded",
        "ids": "pseudonymised" if model.pseudonymise else "as they are",
        "kept": "for ever" if model.retention is None else f"{model.retention:g} s after the last change",
        "read by": sorted({policy["name"] for policy in _reading(model.name, snapshot.programs)}),
    }
    states = [
        [state, sorted(model.transitions.get(state, ())) if model.transitions else "any"] for state in model.states
    ]
    facts = [
        [name, one.type, one.scale if one.type == "decimal" else None, one.travels, one.sensitive, one.priority]
        for name, one in model.attributes.items()
    ]
    return fields, {"states": (STATES, states), "attributes": (FACTS, facts)}, ""


def _reading(model: str, programs: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    from mcp_sdk.policy.program import RuleRow  # noqa: PLC0415 - the engine's load is for this verb alone

    def reads(policy: Mapping[str, Any]) -> bool:
        return any(model in programs["shapes"][RuleRow.of(row).shape]["models"] for row in policy["rules"])

    return [policy for policy in programs.get("policies", ()) if reads(policy)]


def _entity(mesh: Mesh, args: Namespace) -> Described:
    model = model_of(mesh, args.what, "policy", "service", "model")
    context = context_of(mesh, model, args.name)
    past = mesh.control_plane.history(EntityRef(model.name, args.name), limit=max(args.limit, 1))
    rows = [transition_row(applied, model) for applied in past.result(mesh.config.start_timeout)]
    fields = {
        "model": model.name,
        "id": context.entity_id,
        "state": context.state,
        "revision": context.revision,
        "observed at": moment(context.observed_at),
        "source": context.source,
        "attributes": attributes(context.attributes, model),
    }
    return fields, {"history": (HISTORY, rows)}, ""


_KINDS: Mapping[str, Callable[[Mesh, Namespace], Described]] = {
    "policy": _policy,
    "service": _service,
    "model": _model,
}

COMMAND = Command(
    name="describe",
    summary="tell all that is known of a policy, service, model or entity",
    description="""\
Tell all that is known of one thing: of a policy its rules, source and revision;
of a service its endpoints and policies; of a model its states, attributes and
who reads it; of an entity its context and what happened to it.

  mcpctl describe policy transfers -s sqlite:///mesh.db
  mcpctl describe service order-service -s sqlite:///mesh.db
  mcpctl describe model order -s sqlite:///mesh.db
  mcpctl describe order o-1 -s sqlite:///mesh.db
""",
    configure=_configure,
    run=_run,
)
