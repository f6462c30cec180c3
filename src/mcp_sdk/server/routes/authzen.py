"""``/access/v1``: the access evaluations of OpenID AuthZEN 1.0. ``mcp_sdk.server.evaluations`` says what is mapped."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import Header, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from mcp_sdk.context import Scope
from mcp_sdk.decisions import DecisionRequest
from mcp_sdk.server import bodies
from mcp_sdk.server.access.callers import Caller, Permission
from mcp_sdk.server.desk import Asker, At, Desk, Here
from mcp_sdk.server.evaluations import DENY_FIRST, PERMIT_FIRST, plain_evaluation, question
from mcp_sdk.server.faults import Fault
from mcp_sdk.server.questions import answer

__all__ = ["router"]

router = bodies.router(tags=["authzen"])
EVALUATION, EVALUATIONS = "/access/v1/evaluation", "/access/v1/evaluations"
Text = Annotated[str, Field(strict=True, min_length=1, max_length=4096)]
Properties = dict[str, Any]
RequestId = Annotated[str | None, Header(max_length=200, description="comes back in the answer")]


class Entity(BaseModel):
    """A subject or a resource."""

    model_config = ConfigDict(strict=True)
    type: Text
    id: Text
    properties: Properties = {}


class Action(BaseModel):
    """What is to be done."""

    model_config = ConfigDict(strict=True)
    name: Text
    properties: Properties = {}


class Evaluation(BaseModel):
    """One question. What is left out is taken from the defaults, in a request for several."""

    model_config = ConfigDict(strict=True)
    subject: Entity
    action: Action
    resource: Entity
    context: Properties = {}


class Partial(BaseModel):
    """A question that defaults complete."""

    model_config = ConfigDict(strict=True)
    subject: Entity | None = None
    action: Action | None = None
    resource: Entity | None = None
    context: Properties | None = None


class Options(BaseModel):
    """How several questions are answered."""

    evaluations_semantic: Literal["execute_all", "deny_on_first_deny", "permit_on_first_permit"] = "execute_all"


class Several(Partial):
    """Several questions; without ``evaluations`` the defaults are the one question."""

    evaluations: Annotated[list[Partial], Field(max_length=bodies.ITEMS)] = []
    options: Options = Options()


class Decided(BaseModel):
    """The answer; ``context`` says why."""

    decision: bool
    context: dict[str, Any]


class DecidedAll(BaseModel):
    """Answers in the order of the questions; those after the deciding one are left out where one decides."""

    evaluations: list[Decided]


@router.post(EVALUATION)
async def evaluate(
    desk: Here,
    caller: Asker,
    scope: At,
    asked: Evaluation,
    response: Response,
    x_request_id: RequestId = None,
) -> Decided:
    """Answer whether a subject may do something with a resource."""
    _echo(response, x_request_id)
    (decided,) = await _evaluate(desk, caller, scope, [asked.model_dump()])
    return decided


@router.post(EVALUATIONS)
async def evaluate_all(
    desk: Here,
    caller: Asker,
    scope: At,
    asked: Several,
    response: Response,
    x_request_id: RequestId = None,
) -> DecidedAll | Decided:
    """Answer several at once."""
    _echo(response, x_request_id)
    if len(asked.evaluations) > desk.settings.batch:
        raise Fault(400, "batch-too-large", f"send {desk.settings.batch} evaluations at most")
    whole = [_whole(asked, one, f"evaluations.{at}.") for at, one in enumerate(asked.evaluations)]
    if not whole:
        (decided,) = await _evaluate(desk, caller, scope, [_whole(asked, Partial(), "")])
        return decided
    return DecidedAll(
        evaluations=_until(asked.options.evaluations_semantic, await _evaluate(desk, caller, scope, whole))
    )


@router.get("/.well-known/authzen-configuration")
async def configuration(request: Request) -> dict[str, str]:
    """Tell where the access evaluations are, by the address that was asked."""
    base = str(request.base_url).rstrip("/")
    return {
        "policy_decision_point": base,
        "access_evaluation_endpoint": base + EVALUATION,
        "access_evaluations_endpoint": base + EVALUATIONS,
    }


def _whole(defaults: Several, one: Partial, place: str) -> dict[str, Any]:
    """Complete a question by the defaults; raises a 400 that names what is missing."""
    names = ("subject", "action", "resource", "context")
    found = {name: getattr(one, name) or getattr(defaults, name) for name in names}
    missing = [name for name in names[:3] if found[name] is None]
    if missing:
        raise Fault(400, "invalid", f"{place}{missing[0]} is missing")
    return {name: value.model_dump() if isinstance(value, BaseModel) else value for name, value in found.items()}


async def _evaluate(desk: Desk, caller: Caller, scope: Scope, asked: list[dict[str, Any]]) -> list[Decided]:
    caller.require_some(Permission.DECIDE, scope)
    models = (await desk.live(scope)).models
    requests = [question(one, scope, models, service=caller.service) for one in asked]
    for request in requests:
        _permitted(caller, scope, request)
    answered = await answer(desk, requests)
    return [Decided(**plain_evaluation(one.decision, enforced=one.enforced)) for one in answered]


def _permitted(caller: Caller, scope: Scope, request: DecisionRequest) -> None:
    caller.require(Permission.DECIDE, scope, request.service)


def _until(semantic: str, decided: list[Decided]) -> list[Decided]:
    """Cut the answers after the one that decides."""
    last = {DENY_FIRST: False, PERMIT_FIRST: True}.get(semantic)
    end = next((at for at, one in enumerate(decided) if one.decision is last), len(decided))
    return decided[: end + 1]


def _echo(response: Response, request_id: str | None) -> None:
    if request_id is not None:
        response.headers["x-request-id"] = request_id
