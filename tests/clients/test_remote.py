"""The remote control plane, over real servers on real sockets."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from relay import Relay
from serving import Replica
from waiting import until

from mcp_sdk import BusinessModel, Config, Mesh
from mcp_sdk.clients import api
from mcp_sdk.clients.replicas import Replicas
from mcp_sdk.context import EntityRef, ModelContext, Scope, Transition
from mcp_sdk.decisions import DecisionRequest, Denied, Permit
from mcp_sdk.exceptions import PolicyError, RevisionConflict, StoreError, StoreUnanswered, StoreUnavailable
from mcp_sdk.ports import ControlPlane, Status
from mcp_sdk.protocol.manifests import Signer
from mcp_sdk.services import Endpoint
from mcp_sdk.snapshot import PolicyRevision

ORDER = BusinessModel("order", states=("created", "paid", "shipped"))
REF = EntityRef("order", "o-1")
PATIENCE = 20.0
ACCESS = """
apiVersion: mesh.mcp-sdk.dev/v1alpha1
kind: AccessPolicy
metadata: {name: a, namespace: default}
spec:
  target: {service: shop}
  default: permit
  rules:
  - {name: paid, when: "has(order.state) && order.state == 'paid'", effect: deny}
"""


def mesh(replica: Replica, **settings: Any) -> Mesh:
    """Give a mesh on a server."""
    settings.setdefault("token", replica.token)
    settings.setdefault("start_timeout", PATIENCE)
    settings.setdefault("control_plane", replica.url)
    config = Config(service="shop", linger=0.001, fetch_timeout=5.0, **settings)
    return Mesh(config, models=[ORDER])


def apply(plane: ControlPlane, text: str = ACCESS, replaces: int = 0) -> int:
    """Put a policy in force, and give its revision."""
    return plane.apply(PolicyRevision(replaces, {}, {"a.yaml": text})).result(PATIENCE).revision


def kept_revision(directory: Path) -> int:
    """Give the revision of the last good snapshot on disk; -1 where there is none."""
    for file in directory.glob("snapshot-*.json"):
        return int(json.loads(json.loads(file.read_text())["envelope"]["text"])["revision"])
    return -1


def fetched(plane: ControlPlane, refs: Sequence[EntityRef]) -> Mapping[EntityRef, ModelContext]:
    """Look entities up, again where the server had too much to say meanwhile."""
    while True:
        with suppress(StoreUnavailable):
            return plane.fetch(refs).result(PATIENCE)


def refused(plane: ControlPlane) -> bool:
    """Tell whether a call on the order is refused, by what the plane looks up."""
    request = DecisionRequest("shop", "GET /orders/o-1", references=(REF,))
    contexts = {ref.model: context for ref, context in plane.fetch(plane.needs(request)).result(5).items()}
    return isinstance(plane.decide(DecisionRequest("shop", "GET /orders/o-1", contexts=contexts)).verdict, Denied)


def test_what_one_service_says_another_decides_by(replica: Replica) -> None:
    """A policy that is applied and a state that is published by one plane decide a call in another."""
    with mesh(replica) as one, mesh(replica) as other:
        assert apply(one.control_plane) == 1
        one.publish("order", "o-1", state="paid")
        assert one.control_plane.flush(10)
        until(lambda: other.control_plane.snapshot().revision == 1)
        assert refused(other.control_plane)
        assert other.control_plane.status() is Status.READY


def test_a_held_entity_is_told_of_without_asking(replica: Replica) -> None:
    """Whoever looked an entity up hears of its changes; of one that it never asked for it does not."""
    with mesh(replica) as one, mesh(replica) as other:
        one.publish("order", "o-1", state="created")
        one.control_plane.flush(10)
        assert other.control_plane.fetch([REF]).result(5)[REF].state == "created"
        one.publish("order", "o-1", state="paid")
        one.publish("order", "o-2", state="paid")
        until(lambda: other.control_plane.known(REF).state == "paid")  # type: ignore[union-attr]
        assert other.control_plane.known(EntityRef("order", "o-2")) is None


def test_an_outage_costs_no_request(replica: Replica) -> None:
    """With the server dead a plane decides by what it knew, says so, keeps what is published, and catches up."""
    with mesh(replica) as one:
        plane = one.control_plane
        apply(plane)
        replica.kill()
        until(lambda: plane.status() is Status.STALE)
        assert isinstance(plane.decide(DecisionRequest("shop", "GET /x")).verdict, Permit)
        one.publish("order", "o-1", state="paid")
        assert plane.known(REF).state == "paid"  # type: ignore[union-attr]
        assert not plane.flush(0.2)
        replica.start()
        assert plane.flush(PATIENCE)
        until(lambda: plane.status() is Status.READY)
        assert refused(plane)


def test_a_service_that_starts_while_the_server_is_dead_begins_with_the_last_good_snapshot(
    replica: Replica, tmp_path: Path
) -> None:
    """The snapshot on disk is in force at once, as stale; without one nothing is known."""
    kept = str(tmp_path / "state")
    with mesh(replica, state_dir=kept) as one:
        apply(one.control_plane)
        until(lambda: kept_revision(Path(kept)) == 1)
    (file,) = Path(kept).iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    replica.kill()
    with mesh(replica, state_dir=kept, start_timeout=0.5) as again:
        assert again.control_plane.status() is Status.STALE
        assert again.control_plane.snapshot().revision == 1
    with mesh(replica, start_timeout=0.2) as without:
        assert without.control_plane.status() is Status.UNAVAILABLE


def test_a_last_good_file_that_was_changed_is_not_believed(replica: Replica, tmp_path: Path) -> None:
    """A file whose parts do not fit the signed manifest, or that is cut short, is passed over."""
    with mesh(replica, state_dir=str(tmp_path / "state")) as one:
        apply(one.control_plane)
        until(lambda: kept_revision(tmp_path / "state") == 1)
    (file,) = (tmp_path / "state").iterdir()
    replica.kill()
    good = json.loads(file.read_text())
    changed = good | {"parts": good["parts"] | {"policies": good["parts"]["policies"].replace("deny", "permit")}}
    for text in (json.dumps(changed), file.read_text()[:-20], "[]", "null", '{"format": 9}'):
        file.write_text(text)
        with mesh(replica, state_dir=str(tmp_path / "state"), start_timeout=0.2) as again:
            assert again.control_plane.status() is Status.UNAVAILABLE


def test_a_server_of_another_key_is_not_believed(replica: Replica) -> None:
    """Where keys are pinned, a server that signs with none of them puts nothing in force."""
    other = Signer().public.hex()
    with mesh(replica) as one, mesh(replica, trusted_keys=(other,), start_timeout=0.5) as suspicious:
        apply(one.control_plane)
        assert suspicious.control_plane.snapshot().revision == 0
        assert suspicious.control_plane.status() is Status.UNAVAILABLE


def test_transitions_that_are_listened_to_are_told_also_when_the_stream_was_cut(replica: Replica) -> None:
    """``on_transition`` hears of every move made elsewhere, once, also of those made while its stream was cut."""
    heard: list[str] = []
    with Relay(replica.port) as relay, mesh(replica) as one:
        listening = mesh(replica, control_plane=f"http://127.0.0.1:{relay.port}")

        @listening.on_transition("order", to="paid")
        def note(event: Transition) -> None:
            heard.append(event.entity_id)

        with listening:
            for number in range(12):
                if number % 4 == 2:
                    relay.refusing = True
                    relay.cut()
                one.publish("order", f"o-{number}", state="paid")
                one.publish("order", f"o-{number}", state="shipped")
                assert one.control_plane.flush(10)
                if number % 4 == 3:
                    relay.refusing = False
                    until(lambda: listening.control_plane.status() is Status.READY)
            until(lambda: len(heard) >= 12)
    assert heard == [f"o-{number}" for number in range(12)]


def test_the_next_replica_is_asked_when_one_dies(replica: Replica, tmp_path: Path) -> None:
    """With two replicas over one store nothing that was published is lost when either is killed under load."""
    with Replica(tmp_path, replica.store, token=replica.token) as second:
        both = f"{replica.url},{second.url}"
        with mesh(replica, control_plane=both) as one:
            for number in range(300):
                one.publish("order", f"o-{number}", state="created")
                if number == 100:
                    replica.kill()
                if number == 200:
                    replica.start()
                    second.kill()
            assert one.control_plane.flush(PATIENCE)
            page = one.control_plane.list("order", limit=1000).result(5)
            assert {context.entity_id for context in page.contexts} == {f"o-{number}" for number in range(300)}
            assert {context.revision for context in page.contexts} == {1}
            second.start()


@pytest.mark.parametrize("kind", ["leaving", "store-unavailable", "internal"])
def test_an_answer_that_leaves_it_open_whether_a_policy_set_is_in_force_says_so(kind: str) -> None:
    """Another replica would say that somebody else came first; what is asked again anyway is unavailable alone."""
    content = json.dumps({"type": f"urn:mcp-sdk:problem:{kind}", "detail": "why"}).encode()
    with pytest.raises(StoreUnanswered, match="mcpctl history tells"):
        api.answer(api.apply(Scope(), PolicyRevision(0, {}, {})), 503, content)
    with pytest.raises(StoreUnavailable) as error:
        api.answer(api.about(), 503, content)
    assert not isinstance(error.value, StoreUnanswered)


def test_entities_that_are_too_large_together_are_asked_for_in_parts(replica: Replica) -> None:
    """All of them are told, however the server bounds what it says at once."""
    note = "x" * 900_000
    refs = [EntityRef("order", f"o-{number}") for number in range(12)]
    with mesh(replica) as one, mesh(replica) as other:
        for ref in refs:
            one.publish(*ref, state="paid", note=note)
        assert one.control_plane.flush(PATIENCE)
        found = fetched(other.control_plane, refs)
    assert [len(found[ref].attributes["note"]) for ref in refs] == [900_000] * 12


def test_a_policy_set_of_which_no_answer_comes_is_not_sent_to_the_next_replica(
    replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be in force, and the error says where to look; another replica would say that somebody else came first."""
    monkeypatch.setattr(api, "COMPILING", 0.5)

    async def work(relay: Relay) -> None:
        replicas = Replicas([f"http://127.0.0.1:{relay.port}", replica.url], Config(token=replica.token))
        replicas._at = 0
        await replicas.ask(api.about())
        relay.hold()
        with pytest.raises(StoreUnanswered, match="may have been done all the same: mcpctl history tells"):
            await replicas.ask(api.apply(Scope(), PolicyRevision(0, {}, {"a.yaml": ACCESS}, models=(ORDER,))))
        assert await replicas.ask(api.policy_history(Scope(), 10)) == ()
        relay.release()
        await replicas.close()

    with Relay(replica.port) as relay:
        asyncio.run(work(relay))


def test_a_wrong_token_is_said_at_once(replica: Replica) -> None:
    """A token that is not known ends the waiting for a first snapshot with a sentence that names the setting."""
    with pytest.raises(StoreError, match="MCP_SDK_TOKEN"), mesh(replica, token="mcp_aaaaaaaaaaaa_" + "x" * 43):
        pass


def test_refusals_are_those_of_a_local_plane(replica: Replica) -> None:
    """Policies that do not compile and a revision that is not current raise what they raise on a store."""
    with mesh(replica) as one:
        plane = one.control_plane
        until(lambda: plane.snapshot().models)
        with pytest.raises(PolicyError, match=r"a\.yaml:9:\d+"):
            apply(plane, ACCESS.replace("order.state ==", "order.staet =="))
        apply(plane)
        with pytest.raises(RevisionConflict) as conflict:
            apply(plane)
        assert (conflict.value.expected, conflict.value.actual) == (0, 1)
        found = plane.policies().result(5)
        assert found is not None
        assert (found.revision, found.sources) == (1, {"a.yaml": ACCESS})
        assert plane.policies(7).result(5) is None


def test_endpoints_are_shared_and_taken_away(replica: Replica) -> None:
    """An endpoint that one plane announces another routes to, until the first one closes."""
    with mesh(replica) as other:
        with mesh(replica, url="http://127.0.0.1:9", version="v2") as one:
            until(lambda: other.control_plane.endpoints("shop"))
            assert [found.version for found in other.control_plane.endpoints("shop")] == ["v2"]
            assert isinstance(one.control_plane.endpoints("shop"), tuple)
        until(lambda: not other.control_plane.endpoints("shop"))


def test_entities_are_listed(replica: Replica) -> None:
    """A listing by state and prefix comes from the server's store, in pages."""
    with mesh(replica) as one:
        plane = one.control_plane
        for number in range(5):
            one.publish("order", f"o-{number}", state="paid" if number % 2 else "created")
        plane.flush(10)
        page = plane.list("order", state="created", limit=2).result(5)
        assert ([context.entity_id for context in page.contexts], page.after) == (["o-0", "o-2"], "o-2")
        rest = plane.list("order", state="created", limit=2, after=page.after).result(5)
        assert [context.entity_id for context in rest.contexts] == ["o-4"]


def test_an_announced_endpoint_is_announced_again_to_a_server_that_forgot_it(replica: Replica) -> None:
    """A lease is renewed with a server that was away."""
    with mesh(replica) as one:
        one.control_plane.register(Endpoint("shop", "http://127.0.0.1:9"), ttl=0.6).result(5)
        replica.kill()
        time.sleep(0.8)
        replica.start()
        until(lambda: one.control_plane.endpoints("shop"))


def test_a_plane_that_closes_at_once_leaves_nothing_unfinished(replica: Replica) -> None:
    """Closing while an endpoint is still being announced warns of nothing, again and again."""
    for _ in range(10):
        with mesh(replica, url="http://127.0.0.1:9"):
            pass


def test_what_callers_name_does_not_cost_the_stream(replica: Replica) -> None:
    """Thousands of entities in one turn, and ids as long as a header: all are answered, and the stream stays open."""
    with mesh(replica) as shop:
        shop.publish("order", "o-1", state="paid")
        assert shop.control_plane.flush(10)
        long = [EntityRef("order", f"{number}-" + "ä" * 4000) for number in range(200)]
        longer = [EntityRef("order", f"{number}-" + "x" * 60_000) for number in range(100)]
        many = [EntityRef("order", f"o-{number}") for number in range(2500)]
        assert list(shop.control_plane.fetch([*long, *longer, *many]).result(PATIENCE)) == [REF]
        assert shop.control_plane.status() is Status.READY
