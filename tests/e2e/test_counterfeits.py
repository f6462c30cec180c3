"""No counterfeit changes a decision: a service that permits only what it can believe, behind real sockets."""

import base64
import time

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mcp_sdk import BusinessModel, Mesh, ModelContext

KEYS = "k1:" + base64.b64encode(b"0123456789abcdef0123456789abcdef").decode()
OTHER_KEYS = "k1:" + base64.b64encode(b"fedcba9876543210fedcba9876543210").decode()
MODELS = [
    BusinessModel("order", states=("created", "paid")),
    BusinessModel("user", attributes={"tier": "string"}, principal=True),
]
PAID = ModelContext("order", "o-1", "paid", {}, 7)
VIP = ModelContext("user", "u-1", "active", {"tier": "vip"}, 7)


def baggage_of(*contexts, age=0.0, **settings):
    """Give the header that a service of these settings sent ``age`` seconds ago."""
    with Mesh(**{"service": "gateway", "signing_keys": KEYS, "models": MODELS} | settings) as mesh:
        return mesh.codec.encode(contexts, now=time.time() - age).header


@pytest.fixture(scope="module")
def start(serve):
    """Give a function that serves the application with settings and its policies in force."""

    def begin(**settings):
        told = {f"MCP_SDK_{name.upper()}": value for name, value in settings.items()}
        told |= {"MCP_SDK_PRINCIPAL_HEADER": "X-User-Id", "MCP_SDK_GEO_HEADER": "X-Country"}
        url = serve("uvicorn", "counterfeit_app:app", "--port", "PORT", "--log-level", "critical", **told)
        assert httpx.get(f"{url}/ready", timeout=20).status_code == 200
        return url

    return begin


@pytest.fixture(scope="module")
def inside(start):
    """Serve it inside the mesh."""
    return start(ingress="mesh")


@pytest.fixture(scope="module")
def edge(start):
    """Serve it at the edge."""
    return start(ingress="edge")


def status(url, path, **headers):
    """Ask, and give the status."""
    return httpx.get(
        f"{url}{path}", headers=[(name.replace("_", "-"), value) for name, value in headers.items()]
    ).status_code


def test_what_is_true_is_believed(inside):
    """The control of this experiment: a peer's signed words, and a user who authenticated, are permitted."""
    assert status(inside, "/paid", baggage=baggage_of(PAID)) == 200
    assert status(inside, "/vip", baggage=baggage_of(VIP)) == 200
    assert status(inside, "/admin", authorization="Test admin") == 200
    assert status(inside, "/admin", baggage=baggage_of(), x_user_id="admin") == 200
    assert status(inside, "/home", baggage=baggage_of(), x_country="CH") == 200


def altered(header):
    """Turn a created order's header into a paid one's, keeping the signature."""
    return header.replace("state=created", "state=paid")


COUNTERFEITS = {
    "nothing at all": lambda: "",
    "unsigned": lambda: "mcp_sdk.order.id=o-1,mcp_sdk.order.state=paid,mcp_sdk.order.rev=7",
    "made up signature": lambda: (
        "mcp_sdk.order.id=o-1,mcp_sdk.order.state=paid,mcp_sdk.sig=k1.9999999999.AAAAAAAAAAAAAAAAAAAAAA"
    ),
    "altered": lambda: altered(baggage_of(PAID.but(state="created"))),
    "added to": lambda: "mcp_sdk.order.state=paid," + baggage_of(ModelContext("order", "o-1", None, {}, 7)),
    "written twice": lambda: baggage_of(PAID.but(state="created")) + ",mcp_sdk.order.state=paid",
    "percent-encoded key": lambda: baggage_of(PAID.but(state="created")) + ",mcp%5Fsdk.order.state=paid",
    "signature of something else": lambda: "mcp_sdk.order.id=o-1,mcp_sdk.order.state=paid," + baggage_of(VIP),
    "expired": lambda: baggage_of(PAID, age=70),
    "replayed past its time": lambda: baggage_of(PAID, age=3600),
    "good for ever": lambda: baggage_of(PAID, signature_ttl=86_400.0),
    "from the future": lambda: baggage_of(PAID, age=-3600),
    "other keys under the same name": lambda: baggage_of(PAID, signing_keys=OTHER_KEYS),
    "other mesh": lambda: baggage_of(PAID, mesh="other"),
    "other namespace": lambda: baggage_of(PAID, namespace="other"),
    "other environment": lambda: baggage_of(PAID, environment="staging"),
}


@pytest.mark.parametrize("kind", list(COUNTERFEITS))
def test_a_counterfeit_permits_nothing(inside, kind):
    """Each is as good as no header; its caller is no peer either, whose words about the principal would count."""
    header = COUNTERFEITS[kind]()
    assert status(inside, "/paid", baggage=header) == 403
    assert status(inside, "/paid", baggage=header, x_user_id="admin") == 403


@pytest.mark.parametrize("kind", [kind for kind in COUNTERFEITS if kind != "signature of something else"])
def test_a_counterfeit_makes_nobody_a_peer(inside, kind):
    """``X-User-Id`` and a country beside it stay anybody's words."""
    header = COUNTERFEITS[kind]()
    assert status(inside, "/admin", baggage=header, x_user_id="admin") == 403
    assert status(inside, "/home", baggage=header, x_country="CH") == 403


@pytest.mark.parametrize("header", ["true", "unsigned"])
def test_at_the_edge_nothing_of_ours_counts(edge, header):
    """Not even what is signed with our keys: at the edge there are no peers."""
    text = baggage_of(PAID, VIP) if header == "true" else COUNTERFEITS["unsigned"]()
    assert status(edge, "/paid", baggage=text) == 403
    assert status(edge, "/vip", baggage=text) == 403
    assert status(edge, "/admin", baggage=text, x_user_id="admin") == 403
    assert status(edge, "/home", baggage=text, x_country="CH") == 403
    assert status(edge, "/admin", authorization="Test admin") == 200


def test_x_user_id_of_somebody_else_at_the_edge_is_nothing(edge):
    """Whether or not the caller authenticated as somebody."""
    assert status(edge, "/admin", x_user_id="admin") == 403
    assert status(edge, "/admin", x_user_id="admin", authorization="Test u-2") == 403


def test_a_peer_cannot_rename_who_authenticated_here(inside):
    """The service's own authentication beats the peer's header."""
    assert status(inside, "/admin", baggage=baggage_of(), x_user_id="admin", authorization="Test u-2") == 403


def test_another_user_s_context_is_not_mine(inside):
    """The context of the principal's model comes only from the authenticated principal."""
    assert status(inside, "/vip", baggage=baggage_of(VIP), authorization="Test u-2") == 403
    assert status(inside, "/vip", baggage=baggage_of(VIP), authorization="Test u-1") == 200


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f")), max_size=3))
def test_no_baggage_header_breaks_or_permits(inside, lines):
    """Whatever is sent in however many lines, the request is answered, and refused."""
    raw = [(b"baggage", line.strip().encode("latin-1")) for line in lines]
    assert httpx.get(f"{inside}/paid", headers=raw).status_code == 403


@pytest.mark.parametrize(
    "header",
    [
        "," * 5000,
        "mcp_sdk.order.state=" + "x" * 20_000,
        "mcp_sdk." * 3000,
        "a=b;" * 4000,
        "%" * 9000,
        "=,=;=",
        "mcp_sdk.=x",
    ],
)
def test_oversize_and_malformed_headers_are_nothing(inside, header):
    """The request goes on without them."""
    assert status(inside, "/paid", baggage=header) == 403
    assert status(inside, "/ready", baggage=header) == 200
