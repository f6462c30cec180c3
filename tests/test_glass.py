"""Break-glass by a signed file, with no control plane at all."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from mcp_sdk import Config, ConfigurationError, Mesh
from mcp_sdk.clock import Runtime
from mcp_sdk.glass import GlassFile, sign_glass
from mcp_sdk.ports import Identity
from mcp_sdk.protocol.manifests import Signer
from mcp_sdk.snapshot import Override
from mcp_sdk.testing import FakeClock, SequentialIds

WHO = Identity("orders", namespace="shop")
OPERATOR = Signer()


@pytest.fixture
def clock() -> FakeClock:
    """A clock that stands still."""
    return FakeClock()


@pytest.fixture
def write(tmp_path: Path, clock: FakeClock) -> Callable[..., Path]:
    """Writes a signed file, of a later time of change than the last one."""
    times = iter(range(10_000, 20_000))

    def writing(signer: Signer = OPERATOR, who: Identity = WHO, ttl: float = 60.0, **changes: Any) -> Path:
        override = Override("observe", clock.now() + timedelta(seconds=ttl), "payment provider down")
        envelope = sign_glass(signer, who, override, by="ann", now=clock.now())
        if changes:
            envelope = signer.sign(json.loads(envelope.text) | changes)
        path = tmp_path / "glass.json"
        path.write_text(json.dumps(envelope.to_dict()))
        os.utime(path, (at := next(times), at))
        return path

    return writing


def mesh(path: Path, clock: FakeClock, **settings: Any) -> Mesh:
    """Give a service that looks at a file."""
    config = Config(
        service="orders", namespace="shop", break_glass_file=str(path), break_glass_keys=(OPERATOR.public.hex(),)
    )
    return Mesh(replace(config, **settings), runtime=Runtime(clock, SequentialIds()))


def test_a_signed_file_puts_a_service_into_observe_until_it_is_over(write: Any, clock: FakeClock) -> None:
    """Refusals are not carried out while it holds; it ends by itself, and by taking the file away."""
    path = write(ttl=60.0)
    orders = mesh(path, clock)
    assert not orders.enforcing
    clock.tick(61)
    assert orders.enforcing
    write(ttl=60.0)
    clock.tick(1)
    assert not orders.enforcing
    path.unlink()
    clock.tick(1)
    assert orders.enforcing


def test_it_never_makes_a_service_that_observes_enforce(write: Any, clock: FakeClock) -> None:
    """An override only ever takes refusals away."""
    assert not mesh(write(), clock, mode="observe").enforcing
    assert mesh(write(), clock, mode="observe").watching


@pytest.mark.parametrize(
    "forged",
    [
        {"signer": Signer()},
        {"who": replace(WHO, service="payments")},
        {"who": replace(WHO, namespace="other")},
        {"who": replace(WHO, mesh="other")},
        {"mode": "off"},
        {"kind": "manifest"},
        {"format": 2},
        {"until": "2999-01-01T00:00:00+00:00"},
        {"until": "soon"},
    ],
    ids=str,
)
def test_a_file_that_is_not_to_be_believed_changes_nothing(
    write: Any, clock: FakeClock, forged: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """Another key, service, scope, mode, kind or too long a time: said once, and refusals go on."""
    orders = mesh(write(**forged), clock)
    with caplog.at_level(logging.ERROR, "mcp_sdk.glass"):
        for _ in range(5):
            assert orders.enforcing
            clock.tick(1)
    assert len([record for record in caplog.records if "not believed" in record.message]) == 1


@pytest.mark.parametrize("content", [b"", b"{}", b"[" * 100_000, b"\xff", b"x" * 1_000_000])
def test_rubbish_changes_nothing(tmp_path: Path, clock: FakeClock, content: bytes) -> None:
    """A file of anything else is no crash."""
    (tmp_path / "glass.json").write_bytes(content)
    assert mesh(tmp_path / "glass.json", clock).enforcing


def test_glass_stays_broken_for_a_day_at_most(clock: FakeClock) -> None:
    """A longer time is refused where it is signed."""
    override = Override("observe", clock.now() + timedelta(days=2))
    with pytest.raises(ConfigurationError, match="24 h"):
        sign_glass(OPERATOR, WHO, override, by="ann", now=clock.now())


def test_keys_are_checked_at_the_start(tmp_path: Path) -> None:
    """What is no key is said before anything depends on it."""
    with pytest.raises(ConfigurationError, match="64 hex digits"):
        GlassFile(str(tmp_path / "a"), ["xyz"], WHO, monotonic=lambda: 0.0)


def test_a_file_that_is_not_there_costs_a_look_now_and_then(tmp_path: Path) -> None:
    """The file is looked at no more than every half second."""
    now = [0.0]
    glass = GlassFile(str(tmp_path / "a"), [OPERATOR.public.hex()], WHO, monotonic=lambda: now[0])
    assert glass.override() is None
    override = Override("observe", datetime.now().astimezone() + timedelta(seconds=60))
    envelope = sign_glass(OPERATOR, WHO, override, by="ann", now=datetime.now().astimezone())
    (tmp_path / "a").write_text(json.dumps(envelope.to_dict()))
    assert glass.override() is None
    now[0] = 0.6
    assert glass.override() is not None


def test_a_file_that_was_signed_in_the_future_is_not_believed(write: Any, clock: FakeClock) -> None:
    """Else a key could break glass for years: a day is counted from when it was signed. Clocks may be minutes apart."""
    for ahead, believed in ((timedelta(days=365), False), (timedelta(minutes=4), True)):
        moment = clock.now() + ahead
        path = write(issued_at=moment.isoformat(), until=(moment + timedelta(hours=1)).isoformat())
        found = GlassFile(str(path), [OPERATOR.public.hex()], WHO, monotonic=clock.monotonic, now=clock.now).override()
        assert (found is not None) is believed


@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir, lambda path: path.symlink_to("/dev/zero")])
def test_what_is_no_file_is_not_read(tmp_path: Path, clock: FakeClock, make: Callable[[Path], object]) -> None:
    """A pipe that nobody writes to would hold the request that looks for ever."""
    path = tmp_path / "glass.json"
    make(path)
    assert GlassFile(str(path), [OPERATOR.public.hex()], WHO, monotonic=clock.monotonic).override() is None
