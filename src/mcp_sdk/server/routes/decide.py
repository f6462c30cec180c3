"""``/v1/decide``: the server answers by the policies in force. Questions are of the form of decision records."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from mcp_sdk.decisions import DecisionRequest
from mcp_sdk.server import bodies
from mcp_sdk.server.access.callers import Caller
from mcp_sdk.server.desk import Asker, Here
from mcp_sdk.server.faults import Fault
from mcp_sdk.server.questions import answer, plain_answer, read_question

__all__ = ["router"]

router = bodies.router("/v1/decide", tags=["decisions"])
Text = Annotated[str, StringConstraints(strict=True, max_length=4096)]
Texts = Annotated[dict[Text, Text], Field(max_length=200)]
List = Annotated[list[Text], Field(max_length=1000)]
Ref = Annotated[list[Text], Field(min_length=2, max_length=2, description="[model, id]")]


class _Facts(BaseModel):
    model_config = ConfigDict(strict=True)


class Geo(_Facts):
    """Where a request comes from."""

    country: Text = ""
    region: Text = ""
    continent: Text = ""
    city: Text = ""


class Facts(_Facts):
    """The variable ``request`` of conditions; ``size`` is in bytes, or -1."""

    method: Text = ""
    path: Text = ""
    operation: Text = ""
    scheme: Text = ""
    host: Text = ""
    size: Annotated[int, Field(ge=-1, le=bodies.INT53)] = -1
    geo: Geo = Geo()
    headers: Texts = {}
    query: Texts = {}


class Who(_Facts):
    """The variable ``principal`` of conditions."""

    id: Text = ""
    authenticated: bool = False
    type: Text = "user"
    roles: List = []
    scopes: List = []
    mfa: bool = False
    acr: Text = ""
    auth_time: bodies.When | None = None
    attributes: Annotated[dict[Text, Text | bool | int | List], Field(max_length=200)] = {}


class Peer(_Facts):
    """The variable ``source`` of conditions."""

    service: Text = ""
    namespace: Text = ""
    environment: Text = ""
    address: Text = ""
    verified: bool = False


class Question(_Facts):
    """What is known of a call. All but the service may be left out; what a record has beyond that is passed over."""

    format: Literal[1] = 1
    time: Annotated[bodies.When | None, Field(description="when; now unless given")] = None
    service: Annotated[Text, Field(min_length=1, description="the target")]
    operation: Text = ""
    phase: Literal["inbound", "outbound", "method"] = "inbound"
    namespace: Annotated[Text, Field(max_length=200)] = "default"
    environment: Annotated[Text, Field(max_length=200)] = "default"
    request: Facts = Facts()
    principal: Who = Who()
    source: Peer = Peer()
    contexts: Annotated[
        list[dict[str, Any]], Field(max_length=100, description="believed only of callers that may publish")
    ] = []
    references: Annotated[list[Ref], Field(max_length=100, description="entities that the call names")] = []

    def read(self, caller: Caller) -> DecisionRequest:
        """Give the question as engines take it; raises a 400 for contexts that cannot be read."""
        plain = self.model_dump(mode="json")
        plain["time"] = plain["time"] or datetime.now(UTC).isoformat()
        extras: dict[str, dict[str, Any]] = {
            "request": {"headers": _lowered(self.request.headers), "query": self.request.query},
            "principal": {"attributes": {name: _fact(value) for name, value in self.principal.attributes.items()}},
            "source": {"address": self.source.address},
        }
        return read_question(plain, extras, caller)


class Questions(_Facts):
    """Questions, answered in order."""

    questions: Annotated[list[Question], Field(min_length=1, max_length=bodies.ITEMS)]


class Answer(BaseModel):
    """The decision, as records have it; ``details`` are what a refusal asks for, e.g. ``acr`` of a step-up."""

    permitted: bool = Field(description="whether the call may go on")
    verdict: str
    enforced: bool = Field(description="false for a refusal while the glass is broken: permitted all the same")
    details: dict[str, Any]
    route: str | None
    drawn: bool
    priority: str
    timeout: float | None
    qos: str | None
    service_class: str
    limits: list[dict[str, Any]] = Field(description="named, not counted: the service that is called counts")
    advice: dict[str, Any]
    reasons: list[dict[str, Any]] = Field(description="the deciding one first")
    shadow: dict[str, Any] | None
    absent: list[Ref] = Field(description="entities that policies look at and nobody has said anything of")
    epoch: int
    revision: int
    rollout: dict[str, Any] | None = Field(default=None, description="while a policy change is rolled out: who decided")


class Answers(BaseModel):
    """Answers, in the order of the questions."""

    answers: list[Answer]


@router.post("")
async def decide(desk: Here, caller: Asker, question: Question) -> Answer:
    """Answer a question by the policies in force, with entities looked up in the store."""
    (answered,) = await answer(desk, [question.read(caller)])
    return Answer(**plain_answer(answered))


@router.post("/batch")
async def decide_batch(desk: Here, caller: Asker, asked: Questions) -> Answers:
    """Answer several questions at once."""
    if len(asked.questions) > desk.settings.batch:
        raise Fault(422, "batch-too-large", f"{len(asked.questions)} questions; send {desk.settings.batch} at most")
    answered = await answer(desk, [question.read(caller) for question in asked.questions])
    return Answers(answers=[Answer(**plain_answer(one)) for one in answered])


def _lowered(headers: dict[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def _fact(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
