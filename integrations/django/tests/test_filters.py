"""A ``Q`` lists just the rows that a decision on each would permit."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from django.db import connections, models
from djangoshop.models import Customer
from djangoshop.models import Order as ShopOrder
from hypothesis import HealthCheck, given, settings
from mcp_sdk_django import get_mesh, q_for

sys.path.insert(0, str(Path(__file__).parents[3] / "tests" / "support"))

import listings
import services

from mcp_sdk import Attribute, BusinessModel, ModelContext, Untranslatable
from mcp_sdk.decisions import Principal
from mcp_sdk.registry import Registry
from mcp_sdk.residue import Compare, Not, Residue


class Order(models.Model):  # noqa: DJ008 - never shown
    number = models.TextField(primary_key=True)
    status = models.CharField(max_length=20, null=True)  # noqa: DJ001 - an absent state
    amount = models.DecimalField(max_digits=12, decimal_places=2, null=True)
    items = models.BigIntegerField(null=True)
    ratio = models.FloatField(null=True)
    express = models.BooleanField(null=True)
    paid_at = models.DateTimeField(null=True)
    channel = models.CharField(max_length=80, null=True)  # noqa: DJ001 - an absent fact

    class Meta:  # noqa: D106 - Django's
        app_label = "djangoshop"
        db_table = "mcp_sdk_listed_by_django"


class Odd(models.Model):  # noqa: DJ008 - never shown
    """Facts that are kept in other types than they are of."""

    fine = models.DecimalField(max_digits=20, decimal_places=6, null=True)
    coarse = models.DecimalField(max_digits=20, decimal_places=1, null=True)
    token = models.UUIDField(null=True)
    nocase = models.CharField(max_length=20, null=True, db_collation="NOCASE")  # noqa: DJ001
    kept = models.JSONField(null=True)

    class Meta:  # noqa: D106 - Django's
        app_label = "djangoshop"
        db_table = "mcp_sdk_odd_by_django"


MODEL = BusinessModel(
    "order", key="number", state="status", states=listings.STATES, attributes=listings.ATTRIBUTES, python_type=Order
)
ODD = BusinessModel(
    "order",
    attributes=[
        *(Attribute(name, "decimal") for name in ("fine", "coarse")),
        *(Attribute(name) for name in ("token", "nocase", "kept", "gone")),
    ],
    python_type=Odd,
)


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.services)])
def database(request: pytest.FixtureRequest) -> Iterator[str]:
    """Give the alias of a database that has the tables."""
    place: dict[str, Any] = {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}
    tables: list[Any] = [Order, Odd]
    if request.param == "postgresql":
        found = {name.upper(): value for name, value in services.postgres().items()}
        place = {"ENGINE": "django.db.backends.postgresql", "NAME": found.pop("DATABASE"), **found}
        tables = [Order]
    connections.settings["listed"] = connections.configure_settings({"default": {}, "listed": place})["listed"]
    connection = connections["listed"]
    with connection.schema_editor() as editor:
        for table in tables:
            editor.execute(f"DROP TABLE IF EXISTS {table._meta.db_table}")
            editor.create_model(table)
    yield "listed"
    with connection.schema_editor() as editor:
        for table in tables:
            editor.delete_model(table)
    connection.close()
    if connection.connection is not None:  # Django keeps one that is in memory open
        connection.connection.close()
    del connections["listed"], connections.settings["listed"]


def contexts(model: BusinessModel, rows: Any) -> Mapping[Any, ModelContext]:
    """Give the context of every row, as the mesh reads it."""
    registry = Registry([model])
    read = {}
    for row in rows:
        facts = registry.read(model, row)
        read[row.pk] = ModelContext("order", facts.entity_id, facts.state, facts.attributes)
    return read


def permitted(engine: Any, request: Any, item: ModelContext) -> bool:
    decision = engine.decide(replace(request, contexts={**request.contexts, "order": item}))
    return bool(decision.permitted and decision.reasons)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    text=listings.policies(listings.translatable),
    principal=listings.principals,
    user=listings.users,
    table=listings.tables,
)
def test_just_the_permitted_rows_are_listed(database, text, principal, user, table) -> None:
    """Whatever the policies, the caller and the rows: the filter, its negation and the decisions agree."""
    engine, request = listings.engine(text, MODEL), listings.request(principal, user)
    residue = engine.residue(request, MODEL)
    rows = Order.objects.using(database)
    rows.all().delete()
    rows.bulk_create(_order(facts, number) for number, facts in enumerate(table))
    items = contexts(MODEL, rows.all())
    wanted = {key for key, item in items.items() if permitted(engine, request, item)}
    assert set(rows.filter(q_for(residue)).values_list("pk", flat=True)) == wanted, residue.to_dict()
    others = set(rows.filter(~q_for(residue)).values_list("pk", flat=True))
    assert others == set(items) - wanted, residue.to_dict()


def _order(facts: Mapping[str, Any], number: int) -> Order:
    rest = {name: value for name, value in facts.items() if name != "state"}
    return Order(number=listings.ids[number], status=facts["state"], **rest)


@pytest.mark.parametrize("op", ["==", "starts_with", "ends_with", "contains"])
def test_texts_are_compared_by_code_point(database, op) -> None:
    """Case, wildcards, backslashes, quotes and composed letters are what they are, whichever way it is asked."""
    texts = dict(enumerate([*listings.TEXTS, "xa%by", "xaBy", "aab", "AAB"]))
    rows = Order.objects.using(database)
    rows.all().delete()
    rows.bulk_create(Order(number=str(number), channel=text) for number, text in texts.items())
    for part in filter(None, listings.TEXTS):
        test = Compare("channel", op, part)
        for condition in (test, Not(test)):
            found = {texts[int(row.pk)] for row in rows.filter(q_for(Residue(MODEL, condition)))}
            assert found == {text for text in texts.values() if test.accepts(text) is (condition is test)}, (op, part)


def residue_of(when: str, model: BusinessModel) -> tuple[Any, Any, Any]:
    """Give what one granting rule leaves, and what to decide by."""
    rule = f"{{name: rule, when: {json.dumps(when)}, effect: permit}}"
    target = "{service: orders, operations: [orders.read]}"
    text = f"{listings.HEAD}metadata: {{name: p}}\nspec: {{target: {target}, default: deny, rules: [{rule}]}}\n"
    engine, request = listings.engine(text, model), listings.request(Principal(), None)
    return engine.residue(request, model), engine, request


TOKEN = UUID("00000000-0000-4000-8000-00000000000a")


@pytest.mark.parametrize(
    "when",
    [
        "order.id in ['1', '02', 'x']",
        "order.id != '1'",
        "order.fine > 10.00",
        "order.fine == 10.00",
        "order.fine <= 10.01",
        "order.coarse > 10.05",
        "order.coarse == 10.05",
        "order.coarse >= 123456789.01",
        f"order.token == '{TOKEN}'",
        "order.token != 'x'",
        "order.coarse < 10.05 || !has(order.fine)",
    ],
)
def test_facts_that_are_kept_in_another_type(when) -> None:
    """Numbers and UUIDs as ids, finer and coarser decimals mean what the mesh reads."""
    with connections["default"].schema_editor() as editor:
        editor.create_model(Odd)
    try:
        Odd.objects.create(id=1, fine=Decimal("10.005"), coarse=Decimal("10.0"), token=TOKEN)
        Odd.objects.create(id=2, fine=Decimal("10.015"), coarse=Decimal("10.1"))
        Odd.objects.create(id=3, coarse=Decimal("99999999999999.9"))
        residue, engine, request = residue_of(when, ODD)
        items = contexts(ODD, Odd.objects.all())
        wanted = {key for key, item in items.items() if permitted(engine, request, item)}
        assert set(Odd.objects.filter(q_for(residue)).values_list("pk", flat=True)) == wanted
    finally:
        with connections["default"].schema_editor() as editor:
            editor.delete_model(Odd)


def test_a_fact_of_a_related_row_is_joined() -> None:
    """``customer.tier`` leads over the foreign key; an order without a customer has no tier, and stays negatable."""
    model = get_mesh().models["order"]
    gold = Customer.objects.create(tier="gold")
    ShopOrder.objects.create(number="listed-1", customer=gold)
    ShopOrder.objects.create(number="listed-2")
    orders = ShopOrder.objects.filter(number__startswith="listed-")
    try:
        for when, numbers in (("order.tier == 'gold'", {"listed-1"}), ("!has(order.tier)", {"listed-2"})):
            residue = residue_of(when, model)[0]
            assert set(orders.filter(q_for(residue)).values_list("pk", flat=True)) == numbers
            assert (
                set(orders.exclude(q_for(residue)).values_list("pk", flat=True)) == {"listed-1", "listed-2"} - numbers
            )
        part = residue_of("order.tier.startsWith('go') && !order.tier.endsWith('x')", model)[0]
        assert [order.pk for order in orders.filter(q_for(part))] == ["listed-1"]
    finally:
        orders.delete()
        gold.delete()


@pytest.mark.parametrize(
    ("when", "why"),
    [
        ("order.nocase == 'a'", "the collation NOCASE"),
        ("order.kept == 'a'", "a string is kept in a JSONField"),
        ("order.gone == 'a'", r"gone is no field of .*give one with columns=\{'gone': ...\}"),
        ("order.token.startsWith('a')", "only == and in can be asked of a text that is kept in a UUIDField"),
        ("order.token < 'a'", "only == and in"),
        ("order.fine > 10000000000000.00", "no more than 15 digits"),
    ],
)
def test_what_would_be_wrong_is_refused_by_name(when, why) -> None:
    """The error names the clause, its place and what to do; nothing is listed."""
    with pytest.raises(Untranslatable, match=why):
        q_for(residue_of(when, ODD)[0])


def test_columns_and_tests_of_ones_own() -> None:
    """A fact may be another field, or asked as the application keeps it."""
    residue = residue_of("order.gone == 'a' && order.kept == 'b'", ODD)[0]
    Order.objects.filter(
        q_for(residue, Order, columns={"gone": "channel"}, tests={"kept": lambda test: models.Q(status=test.value)})
    )
    assert q_for(residue, superset=True) is not None


def test_moments_follow_the_project() -> None:
    """Where ``USE_TZ`` is on, moments are compared with their zone."""
    residue = residue_of("order.paid_at > now - duration('1h')", MODEL)[0]
    assert ("paid_at__gt", listings.NOW - timedelta(hours=1)) in _leaves(q_for(residue))


def _leaves(q: Any) -> list[Any]:
    return [leaf for child in q.children for leaf in (_leaves(child) if isinstance(child, models.Q) else [child])]
