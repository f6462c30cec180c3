"""What may be told of a request where ids are pseudonyms: a pattern in the place of its path, and not who calls.

A path may hold an id that nobody here knows to be one: of a call to another service, of a route that was never
declared. So once any model pseudonymises, no text that a caller wrote is shown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from mcp_sdk.decisions import DecisionRequest, Phase
from mcp_sdk.models import BusinessModel
from mcp_sdk.operations import OperationPattern, OperationTemplates
from mcp_sdk.snapshot import Snapshot

__all__ = ["Pseudonyms", "pseudonymous"]

Models = Mapping[str, BusinessModel]
_ANY = BusinessModel("any", principal=True, pseudonymise=True)


def pseudonymous(models: Iterable[BusinessModel]) -> bool:
    """Tell whether ids of any model are shown as pseudonyms only."""
    return any(model.pseudonymise for model in models)


class Pseudonyms:
    """Shows requests as logs may have them, by the models of this process and of the snapshot in force. Never raises.

    ``keyed`` says that this process has a key to make pseudonyms with, so that some service of the mesh does.
    ``operations`` are the live path templates of ``service``, this process's own; ``snapshot`` gives the one in force,
    whose policies name the operations of every service.
    """

    def __init__(
        self,
        models: Models,
        *,
        keyed: bool = False,
        service: str = "",
        operations: Sequence[OperationPattern] = (),
        snapshot: Callable[[], Snapshot] = Snapshot,
    ) -> None:
        self._models = models
        self._keyed = keyed
        self._service = service
        self._operations = operations
        self._snapshot = snapshot
        self._version: object = None
        self._templates: dict[tuple[str, str], OperationTemplates] = {}

    @property
    def used(self) -> bool:
        """Whether ids of any model of the mesh are shown as pseudonyms only."""
        return self._keyed or pseudonymous(self._everyones())

    @property
    def secretive(self) -> bool:
        """Whether any model has what leaves no process: ids that are pseudonyms elsewhere, or a sensitive attribute."""
        return self.used or any(
            attribute.sensitive for model in self._everyones() for attribute in model.attributes.values()
        )

    def operation(self, request: DecisionRequest) -> str:
        """Give a request's operation: as it is, or as a pattern where it may hold an id that is a pseudonym elsewhere.

        The name of a method is the code's own word, and stays.
        """
        if request.phase is Phase.METHOD or not request.operation or not self.used:
            return request.operation
        return self._known(request).shown(request.operation)

    def principal(self, request: DecisionRequest) -> str:
        """Give the id of who calls; empty where it may be one that is a pseudonym elsewhere."""
        return "" if self.anonymous else request.principal.id

    @property
    def anonymous(self) -> bool:
        """Whether principals may be of a model that pseudonymises; where none is declared, they may."""
        hidden = [model.pseudonymise for model in self._everyones() if model.principal]
        return any(hidden) or (not hidden and self.used)

    def _everyones(self) -> list[BusinessModel]:
        try:
            return [*self._models.values(), *self._snapshot().models.values()]
        except Exception:  # noqa: BLE001 - a plane that is broken: nobody knows what others pseudonymise
            return [_ANY]

    def _known(self, request: DecisionRequest) -> OperationTemplates:
        try:
            return self._templates_of(request.namespace, request.service)
        except Exception:  # noqa: BLE001 - a plane or a program that is broken: what cannot be told is not shown
            return OperationTemplates(())

    def _templates_of(self, namespace: str, service: str) -> OperationTemplates:
        snapshot = self._snapshot()
        version = (snapshot.order, len(self._operations))
        if self._version != version:
            self._version, self._templates = version, {}
        templates, found = self._templates, self._templates.get((namespace, service))
        if found is None:
            own = self._operations if service == self._service else ()
            named = map(OperationPattern.parse, snapshot.operations(namespace, service))
            found = templates[namespace, service] = OperationTemplates((*own, *named))
        return found
