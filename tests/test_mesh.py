"""The lifecycle of a mesh."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from mcp_sdk import BusinessModel, ConfigurationError, DecisionRequest, Mesh, MeshError, model_context
from mcp_sdk.exceptions import ModelError, UnknownPlugin
from mcp_sdk.ports import Status
from mcp_sdk.snapshot import PolicyRevision

ORDER = BusinessModel("order", key="number", states=("created", "paid"))


def test_it_starts_once_however_often_it_is_asked() -> None:
    """A second start gives the same control plane."""
    with Mesh(service="s", models=[ORDER]) as mesh:
        plane = mesh.control_plane
        assert mesh.start().control_plane is plane


def test_threads_that_start_together_share_one_control_plane(tmp_path: Path) -> None:
    """Concurrent starts wait for the same first snapshot."""
    mesh = Mesh(service="s", control_plane=f"sqlite:///{tmp_path / 'mesh.db'}", models=[ORDER])
    seen: list[tuple[object, Status]] = []

    def start() -> None:
        mesh.start()
        seen.append((mesh.control_plane, mesh.control_plane.status()))

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [(mesh.control_plane, Status.READY)] * 8
    mesh.close()


def test_it_can_be_started_again_after_it_was_closed() -> None:
    """Close and start may alternate."""
    mesh = Mesh(service="s")
    for _ in range(3):
        with mesh:
            assert mesh.control_plane.status() is Status.READY
    mesh.close()


def test_it_starts_and_closes_with_an_application() -> None:
    """``lifespan`` starts before the application serves and closes after."""

    async def serve() -> tuple[bool, bool]:
        mesh = Mesh(service="s")
        async with mesh.lifespan():
            inside = mesh.started
        return inside, mesh.started

    assert asyncio.run(serve()) == (True, False)


def test_settings_are_arguments() -> None:
    """A setting that does not exist names the nearest that does."""
    with pytest.raises(ConfigurationError, match="Did you mean 'ingress'"):
        Mesh(service="s", ingres="edge")


def test_a_model_is_no_text() -> None:
    """A name that stands where the class should is told, with its place."""
    with pytest.raises(ModelError, match="not 'order'; a name goes in name="):
        Mesh(service="shop").model("order")  # type: ignore[call-overload]


def test_an_unknown_control_plane_names_those_installed() -> None:
    """The first start names what is installed; a later one may succeed elsewhere."""
    mesh = Mesh(service="s", control_plane="nosuch://x")
    with pytest.raises(UnknownPlugin, match="Installed: http, https, memory"):
        mesh.start()
    with pytest.raises(UnknownPlugin):
        mesh.start()


def run(script: str) -> subprocess.CompletedProcess[str]:
    """Run a service of its own, for decorators are checked process by process."""
    return subprocess.run([sys.executable, "-c", script], check=False, capture_output=True, text=True)


SERVICE = """\
from mcp_sdk import BusinessModel, Mesh, model_context

@model_context(model={model!r}, state={state!r})
def create(): ...

Mesh(service="s", models=[BusinessModel("order", states=("created", "paid"))]).start()
"""


@pytest.mark.parametrize(
    ("model", "state", "said"),
    [
        ("ordr", "created", "unknown model 'ordr'. Did you mean 'order'?"),
        ("order", "creatd", "unknown state 'creatd' of model 'order'. Did you mean 'created'?"),
    ],
)
def test_a_misspelt_decorator_stops_the_start(model: str, state: str, said: str) -> None:
    """A model or state that is not declared is an error at start, with file, line, column and the nearest name."""
    done = run(SERVICE.format(model=model, state=state))
    assert done.returncode == 1
    assert f"<string>:3:2: {said}" in done.stderr


def test_a_decorator_belongs_to_the_mesh_that_started_after_it() -> None:
    """A mesh that starts later does not answer for the decorators that another one checked."""
    done = run(SERVICE.format(model="order", state="paid") + 'Mesh(models=[BusinessModel("user")]).start()')
    assert (done.returncode, done.stderr) == (0, "")


def test_without_policies_everything_is_permitted_without_a_reason() -> None:
    """A mesh that knows no policy decides as if it were not there."""
    with Mesh(service="s") as mesh:
        decision = mesh.decide(DecisionRequest("s"))
    assert decision.permitted
    assert decision.reasons == ()


@pytest.mark.parametrize(("unavailable", "verdict"), [("permit", "permit"), ("refuse", "shed")])
def test_before_the_first_snapshot_the_setting_decides(tmp_path: Path, unavailable: str, verdict: str) -> None:
    """A store that was never reached permits, or answers 503 where ``unavailable`` is ``refuse``."""
    nowhere = f"sqlite:///{tmp_path / 'missing' / 'mesh.db'}"
    mesh = Mesh(service="s", control_plane=nowhere, start_timeout=0.2, unavailable=unavailable, shutdown_timeout=0.2)
    with mesh:
        decided = mesh.decide(DecisionRequest("s")).verdict
    assert decided.name == verdict
    assert getattr(decided, "message", "No policies are known yet") == "No policies are known yet"


def test_a_business_call_succeeds_while_the_store_is_away(tmp_path: Path) -> None:
    """Capture queues what it cannot store, and the decorated method returns as always."""

    @model_context(model="order", state="created")
    def create(order_number: str) -> str:
        return order_number

    nowhere = f"sqlite:///{tmp_path / 'missing' / 'mesh.db'}"
    with Mesh(service="s", models=[ORDER], control_plane=nowhere, start_timeout=0.2, shutdown_timeout=0.2) as mesh:
        assert create("o-1") == "o-1"
    assert mesh.telemetry.drops.total() > 0


def test_a_forked_child_starts_for_itself() -> None:
    """After a fork the child has a control plane of its own and publishes through it."""
    with Mesh(service="s", models=[ORDER]) as mesh:
        child = os.fork()
        if child == 0:
            try:
                mesh.publish("order", "o-1", state="created")
                ok = mesh.control_plane.flush(3)
            except MeshError:
                ok = False
            os._exit(0 if ok else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_policy_set_that_conflicts_changes_nothing() -> None:
    """Applying on a revision that was replaced meanwhile is refused."""
    with Mesh(service="s", models=[ORDER]) as mesh:
        plane = mesh.control_plane
        plane.apply(PolicyRevision(0, {"format": 1, "shapes": [], "policies": [], "uses": []})).result(3)
        with pytest.raises(MeshError):
            plane.apply(PolicyRevision(0, {"format": 1, "shapes": [], "policies": [], "uses": []})).result(3)
        assert plane.snapshot().revision == 1
