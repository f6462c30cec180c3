"""The contexts that a request is about."""

import asyncio

import pytest

from mcp_sdk import EntityRef, ModelContext, current
from mcp_sdk.middleware import acontext, context


async def _acontext(model):
    return await acontext(model)


@pytest.fixture(params=[context, lambda model: asyncio.run(_acontext(model))], ids=["sync", "async"])
def look(request):
    """Give the look-up in both colours."""
    return request.param


def test_what_was_brought_is_not_looked_up(mesh, plane, look):
    """The context that the caller sent is the answer, by the model's name or class."""
    held = ModelContext("order", "o-1", "paid")
    with current.use(current.Record(mesh)) as work:
        work.put(held)
        assert look("order") is held
        assert look(dict) is None
    assert plane.fetched == []


def test_the_entity_that_the_path_names_is_looked_up_once(mesh, plane, look):
    """What was found is kept, so that calls carry it."""
    ref = EntityRef("order", "o-1")
    plane.stored[ref] = ModelContext("order", "o-1", "paid")
    with current.use(current.Record(mesh)) as work:
        work.references["order"] = ref
        assert (look("order"), look("order")) == (plane.stored[ref], plane.stored[ref]) or work.contexts
        assert work.contexts["order"] == plane.stored[ref]
    assert plane.fetched == [ref]


def test_what_the_store_does_not_have_is_none(mesh, look):
    """And so is everything outside a request."""
    with current.use(current.Record(mesh)) as work:
        work.references["order"] = EntityRef("order", "o-1")
        assert look("order") is None
    assert look("order") is None
    with current.use(current.Record()):
        assert look("order") is None
