"""The models that a mesh knows, and how classes are read by them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any, Generic, Optional, TypeVar

import attrs
import pydantic
import pytest

from mcp_sdk import Attribute, BusinessModel, EntityRef, ModelError
from mcp_sdk.exceptions import ConfigurationError, UnknownModel
from mcp_sdk.registry import Facts, Registry, infer

if TYPE_CHECKING:
    from nowhere import Nothing  # type: ignore[import-not-found]

T = TypeVar("T")


class State(Enum):
    """States as an Enum."""

    CREATED = "created"
    PAID = "paid"


class Mapped(Generic[T]):
    """Stands for SQLAlchemy's annotation."""


@dataclasses.dataclass
class DataOrder:
    number: str
    status: State = State.CREATED
    amount: Decimal = Decimal(1)
    tags: list[str] = dataclasses.field(default_factory=list)


@attrs.define
class AttrsOrder:
    number: str
    status: State = State.CREATED
    amount: Decimal = Decimal(1)
    tags: list[str] = attrs.Factory(list)


class PydanticOrder(pydantic.BaseModel):
    number: str
    status: State = State.CREATED
    amount: Annotated[Decimal, "money"] = Decimal(1)
    tags: list[str] = []


class RowOrder:
    """A row, as SQLAlchemy annotates one."""

    number: Mapped[str]
    status: Mapped[State]
    amount: Mapped[Optional[Decimal]]  # noqa: UP045
    tags: Mapped[list[str]]
    owner: Mapped[Nothing]

    def __init__(self, number: str) -> None:
        self.__dict__.update(number=number, status=State.CREATED, amount=Decimal(1), tags=[])


@pytest.mark.parametrize("cls", [DataOrder, AttrsOrder, PydanticOrder, RowOrder])
def test_classes_of_every_kind_are_read(cls: Any) -> None:
    """Types and states come from the annotations; objects are read by them."""
    model, enum = infer(cls, name="order", key="number", state="status", attributes=("amount", "tags"))
    assert enum is State
    assert model.states == ("created", "paid")
    assert {name: spec.type for name, spec in model.attributes.items()} == {"amount": "decimal", "tags": "list"}
    facts = Registry([model]).read(model, cls(number="o-1"))
    assert facts == Facts("o-1", "created", {"amount": 100, "tags": ()})


def test_a_mapping_is_read_like_an_object() -> None:
    """A plain dictionary is an entity too; what is missing is left out."""
    model = BusinessModel(
        "order", key="number", attributes={"amount": "int", "tier": Attribute("tier", source="user.tier")}
    )
    registry = Registry([model])
    assert registry.read(model, {"number": 7, "state": "paid", "user": {"tier": "gold"}}) == (
        "7",
        "paid",
        {"tier": "gold"},
        0,
    )
    assert registry.read(model, {}) == ("", None, {}, 0)


def test_a_sensitive_attribute_is_never_read() -> None:
    """Not even to be dropped later."""

    class Touchy:
        number = "o-1"

        @property
        def card(self) -> str:
            raise AssertionError

    model = BusinessModel("order", key="number", attributes=[Attribute("card", sensitive=True)], python_type=Touchy)
    assert Registry([model]).read(model, Touchy()) == ("o-1", None, {}, 0)


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        (str, "string"), (int, "int"), (float, "double"), (bool, "bool"), (Decimal, "decimal"), (datetime, "timestamp"),
        (list[int], "list"), (frozenset[str], "list"), (tuple[str, ...], "list"),
        (int | None, "int"), (Mapped[float], "double"), (object, "string"),
    ],
)  # fmt: skip
def test_annotations_give_types(annotation: Any, expected: str) -> None:
    """The first arm of an annotation that is a known type decides."""
    cls = type("Thing", (), {"__annotations__": {"value": annotation}})
    assert (
        infer(cls, name="thing", key="id", state="state", attributes=["value"])[0].attributes["value"].type == expected
    )


def test_what_is_declared_wins_over_annotations() -> None:
    """Attributes may be types, names of types, or whole; sensitive ones are named apart."""
    declared = {"amount": Attribute("amount", "decimal", scale=3), "size": int, "note": "string"}
    options: Any = {"attributes": declared | {"tags": str}, "sensitive": ["tags"]}
    model, _ = infer(RowOrder, name="o", key="number", state="status", **options)
    assert {name: (spec.type, spec.scale, spec.sensitive) for name, spec in model.attributes.items()} == {
        "amount": ("decimal", 3, False),
        "size": ("int", 2, False),
        "note": ("string", 2, False),
        "tags": ("string", 2, True),
    }


def test_states_that_are_listed_win_over_the_annotation() -> None:
    """A tuple of states is what is declared; the Enum still names the model."""
    model, enum = infer(DataOrder, name="order", key="number", state="status", states=("created",))
    assert (model.states, enum) == (("created",), State)


@pytest.mark.parametrize("cls", [DataOrder, AttrsOrder, PydanticOrder])
def test_a_misspelt_member_is_an_error(cls: type) -> None:
    """A class whose fields are known has the key and the attributes that are declared of it."""
    with pytest.raises(ModelError, match=r"has no 'numbr'. Did you mean 'number'"):
        infer(cls, name="order", key="numbr", state="status")
    with pytest.raises(ModelError, match=r"has no 'amont'. Did you mean 'amount'"):
        infer(cls, name="order", key="number", state="status", attributes=["amont"])


def test_models_are_found_by_name_class_and_enum() -> None:
    """A subclass is what its nearest declared base is."""
    model = BusinessModel("order", states=State, python_type=DataOrder)
    registry = Registry([model])
    assert (registry["order"], len(registry), list(registry)) == (model, 1, ["order"])
    assert registry.of_type(type("Sub", (DataOrder,), {})) is model
    assert registry.of_type(int) is None
    assert registry.of_enum(State) == "order"
    registry.declare(BusinessModel("order", python_type=int))
    assert registry.of_type(DataOrder) is None
    assert registry.of_enum(State) is None


def test_an_enum_of_two_models_names_neither() -> None:
    """Where two models share their states, the decorator has to say which."""
    registry = Registry([BusinessModel("order", states=State), BusinessModel("parcel", states=State)])
    with pytest.raises(ModelError, match=r"State holds the states of order, parcel. Say which with model="):
        registry.of_enum(State)


def test_an_open_registry_knows_every_name() -> None:
    """Until something is declared; then the nearest name is told."""
    registry = Registry()
    assert registry.open
    assert registry.named("anything").name == "anything"
    registry.declare(BusinessModel("order"))
    with pytest.raises(UnknownModel, match=r"here: unknown model 'ordr'. Did you mean 'order'"):
        registry.named("ordr", where="here")


def test_ids_are_pseudonymised() -> None:
    """The same id gives the same pseudonym under one key, another under another, and never itself."""
    model = BusinessModel("user", pseudonymise=True)
    one, other = Registry([model], pseudonym_key=b"k"), Registry([model], pseudonym_key=b"l")
    ref = one.ref(model, "alice")
    assert ref == one.ref(model, "alice") != other.ref(model, "alice")
    assert "alice" not in str(ref)
    assert one.ref(model, None) == EntityRef("user", "")
    assert one.read(model, {"id": "alice"}).entity_id == ref.entity_id


def test_pseudonyms_need_a_key() -> None:
    """A hash without a key hides nothing; the start says how to set one."""
    registry = Registry([BusinessModel("user", pseudonymise=True)])
    with pytest.raises(ConfigurationError, match=r"'user' pseudonymises .*MCP_SDK_PSEUDONYM_KEY"):
        registry.check()
    registry.pseudonym_key = b"key"
    registry.check()


def test_an_integration_may_read_members_its_own_way() -> None:
    """An ORM's reader is asked first, part by part of a path, and everything read before is read anew."""
    model = BusinessModel("order", key="number", python_type=DataOrder)
    registry = Registry([model])
    version = registry.version
    order = DataOrder("o-1")
    end = registry.look_first(lambda subject, name: "from-orm" if subject is order else NotImplemented)
    later = registry.look_first(lambda subject, name: None if name == "unloaded" else NotImplemented)
    assert registry.version > version
    assert registry.read(model, order).entity_id == "from-orm"
    assert [registry.member({"a": order}, path) for path in ("a.number", "a.unloaded.x", "b.c")] == [
        "from-orm",
        None,
        None,
    ]
    end()
    later()
    assert registry.read(model, order).entity_id == "o-1"
    assert registry.member is Registry().member


def numbered() -> Iterator[Any]:
    """Give Enums and raw values of states."""

    class Number(Enum):
        CREATED = 1
        PAID = 2

    yield Number, Number.PAID, "paid"
    yield Number, 2, "paid"
    yield Number, 9, None
    yield State, State.PAID, "paid"
    yield State, "paid", "paid"
    yield (), 3, None
    yield (), None, None


@pytest.mark.parametrize(("states", "raw", "expected"), list(numbered()))
def test_states_are_read_as_text(states: Any, raw: Any, expected: str | None) -> None:
    """An Enum's member, its value or its number is the state's name; anything else is no state."""
    model = BusinessModel("order", states=states)
    assert Registry([model]).read(model, {"id": "1", "state": raw}).state == expected
