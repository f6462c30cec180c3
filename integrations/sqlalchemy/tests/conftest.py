"""A mesh, an ORM and databases that the tests of this integration share."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from decimal import Decimal
from enum import Enum
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from mcp_sdk_sqlalchemy import install
from operating import stored_in
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from mcp_sdk import Mesh, ModelContext, context_observer, current, model_context


class Status(Enum):
    CREATED = "created"
    PAID = "paid"
    SHIPPED = "shipped"


class Base(DeclarativeBase):
    pass


class Order(Base):
    __tablename__ = "orders"
    number: Mapped[str] = mapped_column(primary_key=True)
    status: Mapped[Status]
    amount: Mapped[Decimal]


@model_context(model="order", state="paid")
def pay(order: Order) -> None:
    order.status = Status.PAID


@model_context(model="order", state="paid")
def pay_by_id(order_id: str) -> None:
    """Change nothing that is in a session."""


@context_observer
def observe(order: Order, change: Callable[[Order], None]) -> None:
    change(order)


@pytest.fixture
def mesh() -> Iterator[Mesh]:
    mesh = Mesh(service="orders")
    mesh.model(name="order", key="number", state="status", attributes=["amount"])(Order)
    port = install(mesh)
    with mesh:
        yield mesh
    port.close()


@pytest.fixture
def work(mesh: Mesh) -> Iterator[current.Record]:
    """Be inside a request."""
    with current.use(current.Record(mesh)) as work:
        yield work


@pytest.fixture
def stored(mesh: Mesh) -> Callable[[str], ModelContext | None]:
    return lambda number="o-1": stored_in(mesh, number)


def _transactional(engine: Engine) -> None:
    """Have SQLite begin transactions when SQLAlchemy says so, which savepoints need."""

    @event.listens_for(engine, "connect")
    def connect(connection: Any, _: object) -> None:
        connection.isolation_level = None

    @event.listens_for(engine, "begin")
    def begin(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN")


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = create_engine(f"sqlite:///{tmp_path / 'shop.db'}")
    _transactional(engine)
    Base.metadata.create_all(engine)
    with Session(engine) as session, session.begin():
        session.add(Order(number="o-1", status=Status.CREATED, amount=Decimal("99.50")))
        session.add(Order(number="o-2", status=Status.CREATED, amount=Decimal(1)))
    yield engine
    engine.dispose()


@pytest.fixture
def session(engine: Engine) -> Iterator[Session]:
    with Session(engine) as session:
        yield session


@pytest.fixture
def statements(engine: Engine) -> list[str]:
    """Give the statements that the database has been sent since."""
    sent: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda _c, _cursor, statement, *_rest: sent.append(statement))
    return sent


@pytest.fixture
def open_async(engine: Engine) -> Callable[[], Any]:
    """Give a context manager that opens an asynchronous session on the same database."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[AsyncSession]:
        asynchronous = create_async_engine(str(engine.url).replace("sqlite://", "sqlite+aiosqlite://"))
        try:
            async with AsyncSession(asynchronous) as session:
                yield session
        finally:
            await asynchronous.dispose()

    return opened


@pytest.fixture
def shop() -> SimpleNamespace:
    return SimpleNamespace(Order=Order, Status=Status, pay=pay, pay_by_id=pay_by_id, observe=observe)
