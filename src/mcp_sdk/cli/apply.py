"""``mcpctl apply``: put policy files in force."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterable, Mapping
from getpass import getuser
from typing import Any

from mcp_sdk.cli.command import OK, Command
from mcp_sdk.cli.contradictions import require_agreement
from mcp_sdk.cli.output import Output
from mcp_sdk.cli.plane import add_store, connected
from mcp_sdk.cli.policy.report import plain_finding, report
from mcp_sdk.cli.publishing import outrun
from mcp_sdk.cli.sources import read_declarations, read_models, read_policies
from mcp_sdk.exceptions import Finding, PolicyError, RevisionConflict, StoreUnavailable
from mcp_sdk.merging import merge_all
from mcp_sdk.mesh import Mesh
from mcp_sdk.models import BusinessModel
from mcp_sdk.snapshot import PolicyRevision

__all__ = ["COMMAND", "Heed", "compiled", "publish", "put_in_force"]

PATIENCE = 600.0
"""Seconds that a policy set may take to be in force."""
UNDECLARED = (
    "no model is declared yet: start a service that declares them on this control plane, "
    "or list them under 'models:' in a models.yaml beside the policies"
)


def _configure(parser: ArgumentParser) -> None:
    parser.add_argument("paths", nargs="+", metavar="PATH", help="policy files, or folders of *.yaml")
    parser.add_argument(
        "--dry-run", action="store_true", help="compile against the models in force, and change nothing"
    )
    parser.add_argument(
        "--replaces",
        type=int,
        metavar="REV",
        help="the revision that these files were made from; refused where another is in force",
    )
    add_store(parser)


def publish(
    mesh: Mesh,
    sources: Mapping[str, str],
    models: Mapping[str, BusinessModel],
    *,
    dry_run: bool = False,
    replaces: int | None = None,
    heed: Heed | None = None,
) -> int:
    """Do what ``put_in_force`` does, and say of a conflict who published meanwhile (``StoreError``)."""
    try:
        return put_in_force(mesh, dict(sources), dict(models), dry_run=dry_run, replaces=replaces, heed=heed)
    except RevisionConflict as error:
        raise outrun(mesh, error.expected, error.actual) from error


def put_in_force(
    mesh: Mesh,
    sources: dict[str, str],
    models: dict[str, BusinessModel],
    *,
    dry_run: bool = False,
    replaces: int | None = None,
    heed: Heed | None = None,
) -> int:
    """Compile policy texts against the models of the store and ``models``, apply them, and give the revision.

    ``replaces`` is the revision that must be in force, else the one that is; ``heed`` looks at the findings on what
    compiles, which takes as long again, before it is put in force. Raises ``PolicyError`` with every finding,
    ``ModelError`` for a model that is declared otherwise, ``RevisionConflict`` when somebody else applied meanwhile.
    """
    plane = mesh.control_plane
    before = plane.snapshot()
    if replaces is not None and replaces != before.revision:
        raise RevisionConflict("policies", expected=replaces, actual=before.revision)
    declared, known = tuple(models.values()), _known(mesh, models)
    try:
        programs = compiled(mesh, sources, known, heed)
    except PolicyError as error:
        if not known and any(finding.code == "MCP0021" for finding in error.findings):
            error.args = (f"{error}\n{UNDECLARED}",)
        raise
    if dry_run:
        return before.revision
    revision = PolicyRevision(before.revision, programs, sources, author=_author(), models=declared)
    return _applied(mesh, revision)


def _applied(mesh: Mesh, revision: PolicyRevision) -> int:
    try:
        return mesh.control_plane.apply(revision).result(PATIENCE).revision
    except TimeoutError as error:
        raise StoreUnavailable(
            f"it is not in force here after {PATIENCE:g} s, and may come to be: mcpctl history tells"
        ) from error


def _known(mesh: Mesh, models: Mapping[str, BusinessModel]) -> dict[str, BusinessModel]:
    """Give the models of the store, by name, with ``models`` merged in; raises ``ModelError`` where they differ."""
    held = mesh.control_plane.snapshot().models
    return {**held, **{model.name: model for model in merge_all(held.values(), tuple(models.values()))}}


def compiled(
    mesh: Mesh, sources: Mapping[str, str], models: Mapping[str, BusinessModel], heed: Heed | None
) -> dict[str, Any]:
    """Give the program of policy texts in the mesh's namespace, and have ``heed`` look; raises ``PolicyError``."""
    from mcp_sdk import policy  # noqa: PLC0415 - the compiler is an extra

    namespace = mesh.identity.namespace
    if heed is None:
        programs = policy.compile_policies(sources, models, namespace=namespace)
    else:
        programs, found = policy.compile_and_report(
            sources, models, namespace=namespace, declarations=heed.declarations
        )
        heed.look(found.findings)
    policy.require_namespace(programs, namespace)
    return programs


class Heed:
    """Shows the warnings of ``mcpctl policy check`` on some files to who puts them in force.

    ``declarations`` are the texts of ``models.yaml`` files: of models that stand in none of them nothing is said.
    """

    def __init__(
        self, sources: Mapping[str, str], output: Output, *, declarations: Mapping[str, str] | None = None
    ) -> None:
        self.declarations, self._found = declarations or {}, list[Finding]()
        self._texts, self._output = {**sources, **self.declarations}, output

    def look(self, findings: Iterable[Finding]) -> None:
        """Take the findings on what compiled, by place."""
        self._found = [each for each in findings if each.severity == "warning" and each.file in self._texts]
        if not self._output.for_machines:
            for line in report(self._found, self._texts):
                self._output.say(line)

    def beside(self, result: Mapping[str, Any]) -> dict[str, Any]:
        """Give a verb's result for machines, with the warnings in it."""
        return {**result, "findings": list(map(plain_finding, self._found))}


def _author() -> str:
    try:
        return getuser()
    except (KeyError, OSError):
        return "unknown"


def _run(args: Namespace, output: Output) -> int:
    sources, models = read_policies(args.paths), read_models(args.paths)
    heed = Heed(sources, output, declarations=read_declarations(args.paths))
    with connected(args, makes=not args.dry_run) as mesh, output.waiting("compiling policies"):
        require_agreement(mesh, models, heed.declarations, args)
        revision = publish(mesh, sources, models, dry_run=args.dry_run, replaces=args.replaces, heed=heed)
    result = {"files": sorted(sources), "revision": revision, "applied": not args.dry_run}
    _tell(heed.beside(result), output)
    return OK


def _tell(result: Mapping[str, Any], output: Output) -> None:
    if output.for_machines:
        output.data(result)
    else:
        files, done = len(result["files"]), "in force as" if result["applied"] else "would replace"
        output.line(f"{files} file{'s' * (files != 1)} checked; {done} revision {result['revision']}")


COMMAND = Command(
    name="apply",
    summary="put policy files in force, all or nothing",
    description="""\
Compile policy files and put them in force as the next revision. The files
replace the whole set of the namespace. A set that does not compile changes
nothing. Models of a models.yaml are checked with it, and declared just before.
Warnings, as mcpctl policy check has them, are shown and stop nothing.

  mcpctl apply policies/ -s sqlite:///mesh.db
  mcpctl apply policies/ -s sqlite:///mesh.db --dry-run
  mcpctl apply policies/ -s https://mesh.internal --replaces 7
                                only if 7 is in force still, as when you looked
""",
    configure=_configure,
    run=_run,
)
