"""A filter lists just the rows that a decision on each would permit."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from enum import Enum, IntEnum
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from mcp_sdk_sqlalchemy import filter_for
from sqlalchemy import (
    CHAR,
    URL,
    BigInteger,
    Boolean,
    DateTime,
    Double,
    Engine,
    Integer,
    Numeric,
    String,
    Text,
    TypeDecorator,
    Uuid,
    create_engine,
    delete,
    not_,
    select,
)
from sqlalchemy.dialects.postgresql import CITEXT
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, aliased, mapped_column

sys.path.insert(0, str(Path(__file__).parents[3] / "tests" / "support"))

import listings
import services

from mcp_sdk import Attribute, BusinessModel, ModelContext, Untranslatable
from mcp_sdk.decisions import Principal
from mcp_sdk.registry import Registry, infer
from mcp_sdk.residue import Compare, Not, Residue

pytestmark = pytest.mark.filterwarnings("ignore:Dialect sqlite.*does .not. support Decimal")


class Status(Enum):
    CREATED = "created"
    PAID = "paid"
    SHIPPED = "shipped"


class Level(IntEnum):
    LOW = 1
    HIGH = 2


class Base(DeclarativeBase):
    pass


class Order(Base):
    __tablename__ = "mcp_sdk_listed_orders"
    number: Mapped[str] = mapped_column(Text, primary_key=True)
    status: Mapped[Status | None]
    amount: Mapped[Decimal | None] = mapped_column(Numeric(12, 2))
    items: Mapped[int | None] = mapped_column(BigInteger)
    ratio: Mapped[float | None] = mapped_column(Double)
    express: Mapped[bool | None] = mapped_column(Boolean)
    paid_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    channel: Mapped[str | None] = mapped_column(String(80))


class Odd(Base):
    """Facts that are kept in other types than they are of."""

    __tablename__ = "mcp_sdk_listed_odd"
    key: Mapped[int] = mapped_column(Integer, primary_key=True)
    level: Mapped[int | None] = mapped_column(Integer)
    fine: Mapped[Decimal | None] = mapped_column(Numeric(20, 6))
    coarse: Mapped[Decimal | None] = mapped_column(Numeric(20, 1))
    free: Mapped[Decimal | None] = mapped_column(Numeric)
    naive: Mapped[datetime | None] = mapped_column(DateTime)
    token: Mapped[UUID | None] = mapped_column(Uuid)
    kind: Mapped[Status | None]


class Shouting(TypeDecorator[str]):
    """A text that the application sees in upper case."""

    impl = Text
    cache_ok = True

    def process_result_value(self, value: Any, dialect: Any) -> Any:
        return value and value.upper()


class Loose(Base):
    """Columns for which equal means something else."""

    __tablename__ = "mcp_sdk_listed_loose"
    key: Mapped[str] = mapped_column(Text, primary_key=True)
    padded: Mapped[str] = mapped_column(CHAR(5))
    nocase: Mapped[str] = mapped_column(String(collation="NOCASE"))
    citext: Mapped[str] = mapped_column(CITEXT)
    shouting: Mapped[str] = mapped_column(Shouting)


REGISTRY = Registry()


def declared(cls: type, **options: Any) -> BusinessModel:
    """Declare a class as the order, as ``mesh.model`` does, in a registry of its own."""
    model, enum = infer(cls, name="order", **options)
    REGISTRY.declare(model, states_enum=enum)
    return model


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.services)])
def database(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """Give a database that has the tables."""
    url: Any = "sqlite://"
    if request.param == "postgresql":
        place = services.postgres()
        url = URL.create("postgresql+psycopg", place["user"], None, place["host"], place["port"], place["database"])
    engine = create_engine(url)
    tables = [Order.__table__, Odd.__table__]
    Base.metadata.drop_all(engine, tables)
    Base.metadata.create_all(engine, tables)
    yield engine
    Base.metadata.drop_all(engine, tables)
    engine.dispose()


def contexts(session: Session, cls: type, model: BusinessModel) -> Mapping[Any, ModelContext]:
    """Give the context of every row, as the mesh reads it."""
    read = {}
    for row in session.scalars(select(cls)):
        facts = REGISTRY.reader(model, cls).read(row)
        read[row] = ModelContext("order", facts.entity_id, facts.state, facts.attributes)
    return read


def permitted(engine: Any, request: Any, item: ModelContext) -> bool:
    decision = engine.decide(replace(request, contexts={**request.contexts, "order": item}))
    return bool(decision.permitted and decision.reasons)


def refill(session: Session, cls: type, rows: list[Any]) -> None:
    session.execute(delete(cls))
    session.add_all(rows)
    session.commit()


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    text=listings.policies(listings.translatable),
    principal=listings.principals,
    user=listings.users,
    table=listings.tables,
)
def test_just_the_permitted_rows_are_listed(database, text, principal, user, table) -> None:
    """Whatever the policies, the caller and the rows: the filter, its negation and the decisions agree."""
    model = declared(Order, key="number", state="status", attributes=listings.ATTRIBUTES)
    engine, request = listings.engine(text, model), listings.request(principal, user)
    residue = engine.residue(request, model)
    clause = filter_for(residue)
    with Session(database) as session:
        rows = [_order(facts, number) for number, facts in enumerate(table)]
        refill(session, Order, rows)
        items = contexts(session, Order, model)
        wanted = {row.number for row, item in items.items() if permitted(engine, request, item)}
        assert set(session.scalars(select(Order.number).where(clause))) == wanted, residue.to_dict()
        others = set(session.scalars(select(Order.number).where(not_(clause))))
        assert others == {row.number for row in items} - wanted, residue.to_dict()


def _order(facts: Mapping[str, Any], number: int) -> Order:
    status = facts["state"] and Status(facts["state"])
    return Order(number=listings.ids[number], status=status, **{k: v for k, v in facts.items() if k != "state"})


@pytest.mark.parametrize("op", ["==", "starts_with", "ends_with", "contains"])
def test_texts_are_compared_by_code_point(database, op) -> None:
    """Case, wildcards, backslashes, quotes and composed letters are what they are, whichever way it is asked."""
    model = declared(Order, key="number", state="status", attributes=listings.ATTRIBUTES)
    texts = dict(enumerate([*listings.TEXTS, "xa%by", "xaBy", "aab", "AAB"]))
    with Session(database) as session:
        refill(session, Order, [Order(number=str(number), channel=text) for number, text in texts.items()])
        for part in filter(None, listings.TEXTS):
            test = Compare("channel", op, part)
            for condition in (test, Not(test)):
                clause = filter_for(Residue(model, condition))
                found = {texts[int(number)] for number in session.scalars(select(Order.number).where(clause))}
                wanted = {text for text in texts.values() if test.accepts(text) is (condition is test)}
                assert found == wanted, (op, part)


@pytest.fixture
def listed(database: Engine) -> Callable[..., Any]:
    """Give what a rule lists of some rows, and what a decision on each permits."""

    def build(cls: type, rows: list[Any], when: str, **options: Any) -> tuple[set[Any], set[Any]]:
        model = declared(cls, **options)
        engine, request = listings.engine(_granting(when), model), listings.request(Principal("a"), None)
        with Session(database) as session:
            refill(session, cls, rows)
            items = contexts(session, cls, model)
            found = session.scalars(select(cls).where(filter_for(engine.residue(request, model))))
            return set(found), {row for row, item in items.items() if permitted(engine, request, item)}

    return build


def _granting(when: str) -> str:
    target = "{service: orders, operations: [orders.read]}"
    rule = f"{{name: rule, when: {json.dumps(when)}, effect: permit}}"
    return f"{listings.HEAD}metadata: {{name: p}}\nspec: {{target: {target}, default: deny, rules: [{rule}]}}\n"


ODD = {
    "key": "key",
    "state": "level",
    "states": Level,
    "attributes": [
        Attribute("fine", "decimal"),
        Attribute("coarse", "decimal"),
        Attribute("free", "decimal"),
        Attribute("naive", "timestamp"),
        Attribute("token", "string"),
        Attribute("kind", "string"),
    ],
}
TOKEN = UUID("00000000-0000-4000-8000-00000000000a")


@pytest.mark.parametrize(
    "when",
    [
        "order.id == '7'",
        "order.id in ['7', '07', 'x', '99999999999999999999']",
        "order.id != '07'",
        "has(order.id)",
        "order.state == 'high'",
        "!(order.state == 'high')",
        "order.state.startsWith('l')",
        "order.fine > 10.00",
        "order.fine >= 10.01",
        "order.fine == 10.00",
        "order.fine != 10.00",
        "order.fine < 10.01",
        "order.fine in [10.00, 10.02]",
        "order.coarse > 10.05",
        "order.coarse == 10.05",
        "order.coarse != 10.05",
        "order.coarse <= 10.05",
        "order.free > 10.00",
        "has(order.free)",
        "!has(order.free)",
        "order.free >= 0.00 || !has(order.free)",
        "order.naive >= timestamp('2026-11-22T12:00:00Z')",
        "order.naive < timestamp('2026-11-22T12:00:00.000000001Z')",
        f"order.token == '{TOKEN}'",
        f"order.token == '{str(TOKEN).upper()}'",
        "order.token != 'x'",
        "order.kind == 'paid'",
        "order.kind.endsWith('d') && size(order.kind) > 4",
        "order.kind < 'd'",
    ],
)
def test_facts_that_are_kept_in_another_type(listed, when) -> None:
    """Numbers and UUIDs as ids, Enums, finer and coarser decimals, naive timestamps mean what the mesh reads."""
    rows = [
        Odd(key=7, level=1, fine=Decimal("10.005"), coarse=Decimal("10.0"), free=Decimal("10.00001"), token=TOKEN),
        Odd(key=8, level=2, fine=Decimal("10.015"), coarse=Decimal("10.1"), kind=Status.PAID),
        Odd(key=9, level=3, fine=Decimal("10.014999"), naive=datetime(2026, 11, 22, 12), kind=Status.CREATED),  # noqa: DTZ001
        Odd(key=-7, fine=Decimal("10.02"), naive=datetime(2026, 11, 22, 11, 59), free=Decimal(10) ** 18),  # noqa: DTZ001
        Odd(key=10, kind=Status.SHIPPED),
    ]
    found, wanted = listed(Odd, rows, when, **ODD)
    assert {row.key for row in found} == {row.key for row in wanted}


@pytest.mark.services
def test_nan_is_greater_than_nothing(database, listed) -> None:
    """PostgreSQL puts NaN above every number; CEL does not, and a NaN is no amount."""
    if database.name != "postgresql":
        pytest.skip("SQLite has no NaN")
    rows = [Order(number="a", ratio=float("nan"), amount=Decimal("NaN")), Order(number="b", ratio=2.0, amount=2)]
    options: Any = {"key": "number", "state": "status", "attributes": listings.ATTRIBUTES}
    for when in (
        "order.ratio > 1.0",
        "order.ratio != 1.0",
        "!(order.ratio > 1.0)",
        "order.amount > 1",
        "has(order.amount)",
    ):
        found, wanted = listed(Order, [Order(**_columns(row)) for row in rows], when, **options)
        assert {row.number for row in found} == {row.number for row in wanted}, when


def _columns(row: Order) -> dict[str, Any]:
    return {name: getattr(row, name) for name in ("number", "ratio", "amount")}


def test_an_empty_id_is_no_id(listed) -> None:
    """A row whose key is empty has no id, as the mesh reads it."""
    options: Any = {"key": "number", "state": "status", "attributes": listings.ATTRIBUTES}
    for when in ("has(order.id)", "order.id == ''", "!has(order.id)"):
        found, wanted = listed(Order, [Order(number=""), Order(number="a")], when, **options)
        assert {row.number for row in found} == {row.number for row in wanted}, when


@pytest.mark.parametrize(
    "when", ["order.channel.endsWith('b')", "size(order.channel) == 1", "size(order.channel) != 3"]
)
def test_a_text_with_a_nul_is_never_listed_wrongly(database, when) -> None:
    """SQLite's functions end a text at a NUL: such a row is left out, whichever way it is asked."""
    if database.name != "sqlite":
        pytest.skip("PostgreSQL keeps no NUL")
    model = declared(Order, key="number", state="status", attributes=listings.ATTRIBUTES)
    for condition in (when, f"!({when})"):
        engine = listings.engine(_granting(condition), model)
        clause = filter_for(engine.residue(listings.request(Principal(), None), model))
        with Session(database) as session:
            refill(
                session,
                Order,
                [Order(number="nul", channel="b\0b"), Order(number="none"), Order(number="b", channel="b")],
            )
            wanted = {
                row.number
                for row, item in contexts(session, Order, model).items()
                if permitted(engine, listings.request(Principal(), None), item)
            }
            found = set(session.scalars(select(Order.number).where(clause)))
            assert found == wanted - {"nul"}


@pytest.mark.parametrize(
    ("cls", "attribute", "when", "why"),
    [
        (Loose, "padded", "order.padded == 'a'", r"a string is kept in a column of type CHAR"),
        (Loose, "nocase", "order.nocase == 'a'", "the collation NOCASE"),
        (Loose, "citext", "order.citext == 'a'", r"a string is kept in a column of type CITEXT"),
        (Loose, "shouting", "order.shouting == 'a'", r"a string is kept in a column of type Shouting"),
        (Loose, "gone", "order.gone == 'a'", r"gone is no column of .*give one with columns=\{'gone': ...\}"),
        (Loose, "padded", "order.padded.matches('a')", "a regular expression"),
        (Loose, "key", "order.id < 'a'", "databases order texts by a collation"),
    ],
)
def test_what_would_be_wrong_is_refused_by_name(cls, attribute, when, why) -> None:
    """The error names the clause, its place and what to do; nothing is listed."""
    if attribute == "gone":
        model = BusinessModel("order", key="key", attributes={"gone": "string"}, python_type=cls)
    else:
        model, _ = infer(cls, name="order", key="key", state="gone", attributes={attribute: "string"})
    residue = listings.engine(_granting(when), model).residue(listings.request(Principal(), None), model)
    with pytest.raises(Untranslatable, match=why) as caught:
        filter_for(residue)
    assert str(caught.value).startswith(f"p.yaml:4:85: {when!r} of rule 'rule' of 'p' cannot become a filter:")


def test_a_superset_is_filtered_row_by_row(database) -> None:
    """What cannot be translated is left out of the filter, and asked of each row."""
    model = declared(Order, key="number", state="status", attributes=listings.ATTRIBUTES)
    engine = listings.engine(_granting("order.channel == 'a' && order.items * 2 > 5"), model)
    request = listings.request(Principal(), None)
    residue = replace(engine.residue(request, model), read=lambda row: contexts(session, Order, model)[row])
    with Session(database) as session:
        numbers = [("1", "a", 3), ("2", "a", 2), ("3", "b", 3)]
        refill(
            session, Order, [Order(number=number, channel=channel, items=items) for number, channel, items in numbers]
        )
        rows = session.scalars(select(Order).where(filter_for(residue, superset=True)).order_by(Order.number)).all()
        assert [row.number for row in rows] == ["1", "2"]
        assert [row.number for row in rows if residue.holds(row)] == ["1"]


def test_columns_aliases_and_tests_of_ones_own(database) -> None:
    """A fact may be any expression, the class an alias, and a list is asked as the application keeps it."""
    model = BusinessModel("order", key="number", state="status", attributes={"size": "int", "tags": "list"})
    engine = listings.engine(_granting("order.size == 3 && 'a' in order.tags"), model)
    residue = engine.residue(listings.request(Principal(), None), model)
    other = aliased(Order)
    with Session(database) as session:
        refill(session, Order, [Order(number="1", items=3, channel="a,b"), Order(number="2", items=3, channel="b")])
        clause = filter_for(
            residue,
            other,
            columns={"size": other.items},
            tests={"tags": lambda test: other.channel.is_not(None) & other.channel.contains(test.value)},
        )
        assert list(session.scalars(select(other.number).where(clause))) == ["1"]


def test_an_empty_list_of_rows_is_a_filter_too(database) -> None:
    """Always and never are clauses as well."""
    model = declared(Order, key="number", state="status", attributes=listings.ATTRIBUTES)
    with Session(database) as session:
        refill(session, Order, [Order(number="1")])
        for when, count in (("true", 1), ("false", 0)):
            residue = listings.engine(_granting(when), model).residue(listings.request(Principal(), None), model)
            assert len(session.scalars(select(Order).where(filter_for(residue))).all()) == count
