"""Who calls: readers, the principal's own model, and headers between peers."""

import asyncio
import base64
import hmac
import json
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import jwt as pyjwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from scripted import call, scope_of, signed

from mcp_sdk import BusinessModel, ConfigurationError, ModelContext, Principal
from mcp_sdk.middleware import JwtPrincipal, MeshMiddleware, WSGIMeshMiddleware, remote_user, scope_user, user_principal

ALICE = Principal("u-1", authenticated=True)


async def ok(scope, receive, send):
    """Answer 200."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def decided(mesh, plane, *, reader=None, headers=(), **scope):
    """Serve one request and give what was decided on."""
    asyncio.run(call(MeshMiddleware(ok, mesh, principal=reader), scope_of(headers=headers, **scope)))
    return plane.requests[-1]


class User:
    """A user object as frameworks have them."""

    def __init__(self, **members):
        self.__dict__.update(members)


@pytest.mark.parametrize(
    ("user", "found"),
    [
        (None, None),
        (User(is_authenticated=False, pk=1), None),
        (User(is_authenticated=True, pk=7), "7"),
        (User(is_authenticated=lambda: True, get_id=lambda: "u-1"), "u-1"),
        (User(is_authenticated=True, identity="u-1", roles=["admin", 3]), "u-1"),
        (User(is_authenticated=True, username="ann"), "ann"),
        (User(is_authenticated=True), None),
    ],
)
def test_users_of_frameworks_become_principals(user, found):
    """Django's, Flask-Login's and Starlette's users are read by what they have."""
    principal = user_principal(user)
    assert (principal.id if principal else None) == found


def test_starlette_s_user_is_read_from_the_scope(mesh, plane):
    """Without a reader the scope's user counts, with the scopes of its credentials."""
    user, auth = User(is_authenticated=True, identity="u-1"), User(scopes=["read"])
    principal = decided(mesh, plane, user=user, auth=auth).principal
    assert (principal.id, principal.scopes) == ("u-1", ("read",))
    assert scope_user({}) is None


def test_a_web_server_s_user_is_read_from_the_environ():
    """``REMOTE_USER`` counts where the application says so."""
    assert remote_user({"REMOTE_USER": "ann"}).id == "ann"
    assert remote_user({"HTTP_REMOTE_USER": "ann"}) is None


def test_a_reader_may_be_a_coroutine_function_under_asgi(mesh, plane):
    """It is awaited."""

    async def reader(scope):
        await asyncio.sleep(0)
        return ALICE

    assert decided(mesh, plane, reader=reader).principal is ALICE


@pytest.mark.filterwarnings("error")
def test_a_coroutine_reader_under_wsgi_is_nobody(mesh, plane):
    """It cannot be awaited there: counted, and anonymous."""

    async def reader(environ):
        return ALICE

    app = WSGIMeshMiddleware(lambda environ, start: [b""], mesh, principal=reader)
    app({"REQUEST_METHOD": "GET", "PATH_INFO": "/"}, lambda *_: None)
    assert not plane.requests[0].principal.authenticated
    assert mesh.telemetry.drops.read()["principal", "internal_error"] == 1


def test_the_principal_s_own_model_is_looked_up(mesh, plane):
    """The entity that authenticated is a reference like one in the path."""
    ref = mesh.models.ref(mesh.models["user"], "u-1")
    plane.looked_at, plane.stored[ref] = {"user"}, ModelContext("user", "u-1", "active", {"tier": "vip"}, 3)
    assert decided(mesh, plane, reader=lambda _: ALICE).contexts["user"].attributes["tier"] == "vip"


def test_another_user_s_context_does_not_come_by_baggage(mesh, peer, plane):
    """A context of the principal's model counts only when it is the principal's; it is counted as dropped."""
    header = signed(peer, ModelContext("user", "u-2", "active", {"tier": "vip"}, 3))
    assert "user" not in decided(mesh, plane, reader=lambda _: ALICE, headers=[("baggage", header)]).contexts
    assert mesh.telemetry.drops.read()["ingress", "not_the_principal"] == 1


def test_the_principal_s_own_context_may_come_by_baggage(mesh, peer, plane):
    """A peer may bring what it knows of the same user."""
    header = signed(peer, ModelContext("user", "u-1", "active", {"tier": "vip"}, 3))
    assert decided(mesh, plane, reader=lambda _: ALICE, headers=[("baggage", header)]).contexts["user"].revision == 3


def test_a_peer_brings_the_principal_s_context_where_nobody_authenticates(mesh, peer, plane):
    """Behind a gateway that authenticated, the verified context stands."""
    header = signed(peer, ModelContext("user", "u-1", "active", {"tier": "vip"}, 3))
    assert decided(mesh, plane, headers=[("baggage", header)]).contexts["user"].attributes["tier"] == "vip"


def test_a_path_does_not_say_who_calls(mesh, plane):
    """``/users/{user}`` names a resource, and policies read ``user`` as the caller."""
    mesh.declare_operations(["GET /users/{user_id}"])
    assert decided(mesh, plane, path="/users/u-2").references == ()


def test_a_pseudonym_names_the_same_user(make_mesh, plane):
    """Where ids are pseudonymised, the principal's reference is too."""
    mesh = make_mesh(pseudonym_key="k" * 32)
    mesh.models.declare(BusinessModel("user", principal=True, pseudonymise=True))
    (ref,) = decided(mesh, plane, reader=lambda _: ALICE).references
    assert ref.entity_id.startswith("p-")


def test_a_verified_peer_may_name_the_caller(make_mesh, peer, plane):
    """``principal_header`` counts with a signature that holds."""
    mesh = make_mesh(principal_header="X-User-Id")
    headers = [("x-user-id", "u-1"), ("baggage", signed(peer))]
    assert decided(mesh, plane, headers=headers).principal.id == "u-1"


@pytest.mark.parametrize("ingress", ["mesh", "edge", "open"])
def test_nobody_else_may_name_the_caller(make_mesh, plane, ingress):
    """Without a verified peer, the header is anybody's words."""
    mesh = make_mesh(principal_header="X-User-Id", ingress=ingress)
    assert not decided(mesh, plane, headers=[("x-user-id", "u-1")]).principal.authenticated


@pytest.mark.parametrize("ingress", ["edge", "open"])
def test_a_verified_header_does_not_name_the_caller_outside_mesh_ingress(make_mesh, peer, plane, ingress):
    """At the edge nobody is a peer."""
    mesh = make_mesh(principal_header="X-User-Id", ingress=ingress)
    headers = [("x-user-id", "u-1"), ("baggage", signed(peer))]
    assert not decided(mesh, plane, headers=headers).principal.authenticated


def test_who_authenticated_here_beats_the_header(make_mesh, peer, plane):
    """A peer cannot rename a caller whom this service knows."""
    mesh = make_mesh(principal_header="X-User-Id")
    headers = [("x-user-id", "u-2"), ("baggage", signed(peer))]
    assert decided(mesh, plane, reader=lambda _: ALICE, headers=headers).principal.id == "u-1"


# JSON Web Tokens

ISSUER, AUDIENCE = "https://issuer.example", "shop"
RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC_KEY = ec.generate_private_key(ec.SECP256R1())


def jwk_of(key, algorithm, kid):
    """Give the public JWK of a private key."""
    kind = pyjwt.algorithms.RSAAlgorithm if algorithm == "RS256" else pyjwt.algorithms.ECAlgorithm
    return json.loads(kind.to_jwk(key.public_key())) | {"kid": kid, "alg": algorithm, "use": "sig"}


KEYS = {"keys": [jwk_of(RSA_KEY, "RS256", "r1"), jwk_of(EC_KEY, "ES256", "e1")]}


def token_of(key=RSA_KEY, algorithm="RS256", kid="r1", **claims):
    """Give a signed token."""
    base = {"iss": ISSUER, "aud": AUDIENCE, "sub": "u-1", "exp": int(time.time()) + 60}
    plain = {name: value for name, value in (base | claims).items() if value is not None}
    return pyjwt.encode(plain, key, algorithm, headers={"kid": kid} if kid else {})


def jwt_reader(**options):
    """Give a reader over the key set."""
    return JwtPrincipal(**{"issuer": ISSUER, "audience": AUDIENCE, "jwks": KEYS} | options)


def told(mesh, plane, token, **options):
    """Give the principal that a request with a token is decided under."""
    headers = [("authorization", f"Bearer {token}")]
    return decided(mesh, plane, reader=jwt_reader(**options), headers=headers).principal


def test_a_token_s_claims_become_the_principal(mesh, plane):
    """Subject, scopes, roles, strength and moment of the authentication are read."""
    claims = {
        "scope": "read write",
        "roles": ["admin"],
        "amr": ["pwd", "mfa"],
        "acr": "urn:mfa",
        "auth_time": 1700000000,
    }
    principal = told(mesh, plane, token_of(**claims, team="a"), attributes=["team"])
    assert (principal.id, principal.scopes, principal.roles) == ("u-1", ("read", "write"), ("admin",))
    assert (principal.mfa, principal.acr, principal.auth_time.year) == (True, "urn:mfa", 2023)
    assert dict(principal.attributes) == {"team": "a"}


def test_an_elliptic_token_is_read_too(mesh, plane):
    """The key's type is the algorithm's."""
    assert told(mesh, plane, token_of(EC_KEY, "ES256", "e1")).id == "u-1"


def unsigned():
    """Give a token of algorithm ``none``."""
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "u-1", "exp": int(time.time()) + 60}
    return pyjwt.encode(claims, None, "none", headers={"kid": "r1"})


def confused():
    """Give an HS256 token whose secret is the public RSA key, the classic confusion of RFC 8725 section 2.1."""
    secret = RSA_KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "u-1", "exp": int(time.time()) + 60}
    parts = [json.dumps(part).encode() for part in ({"alg": "HS256", "kid": "r1", "typ": "JWT"}, claims)]
    signing = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in parts)
    mac = hmac.digest(secret, signing, "sha256")
    return (signing + b"." + base64.urlsafe_b64encode(mac).rstrip(b"=")).decode()


OTHER = rsa.generate_private_key(public_exponent=65537, key_size=2048)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: token_of(OTHER), "invalid"),
        (lambda: token_of(exp=int(time.time()) - 60), "expired"),
        (lambda: token_of(exp=None), "invalid"),
        (lambda: token_of(iss="https://evil.example"), "invalid"),
        (lambda: token_of(aud="elsewhere"), "invalid"),
        (lambda: token_of(sub=None), "invalid"),
        (lambda: token_of(sub=""), "invalid"),
        (lambda: token_of(kid="unknown"), "unknown_key"),
        (lambda: token_of(kid=None), "unknown_key"),
        (lambda: token_of(EC_KEY, "ES256", "r1"), "algorithm"),
        (unsigned, "algorithm"),
        (confused, "algorithm"),
        (lambda: "not.a.token", "malformed"),
        (lambda: "\xff\xfe", "malformed"),
    ],
)
def test_a_token_that_does_not_hold_is_nobody(mesh, plane, make, reason):
    """Each is counted by its reason, and none is an error."""
    assert not told(mesh, plane, make()).authenticated
    assert mesh.telemetry.drops.read()["principal", reason] == 1


@pytest.mark.parametrize("headers", [[], [("authorization", "Basic x")], [("authorization", "Bearer a")] * 2])
def test_without_one_bearer_token_there_is_nobody(mesh, plane, headers):
    """Two credentials are as good as none."""
    assert not decided(mesh, plane, reader=jwt_reader(), headers=headers).principal.authenticated


@pytest.mark.parametrize(
    "options",
    [
        {"algorithms": ["none"]},
        {"algorithms": []},
        {"algorithms": ["HS256", "RS256"]},
        {"jwks": None, "jwks_url": "https://x/", "algorithms": ["HS256"]},
        {"jwks": None},
        {"jwks": {"keys": []}},
        {"jwks": None, "jwks_url": "file:///etc/passwd"},
        {"issuer": ""},
        {"audience": ""},
    ],
)
def test_what_cannot_be_secure_is_refused_when_it_is_built(options):
    """The mistake shows at start, not in a breach."""
    with pytest.raises(ConfigurationError):
        jwt_reader(**options)


@pytest.fixture
def issuer():
    """Serve a key set on loopback; ``hits`` counts requests, ``keys`` is what is served, None for a 500."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            server.hits += 1
            self.send_response(200 if server.keys else 500)
            self.end_headers()
            self.wfile.write(json.dumps(server.keys).encode() if server.keys else b"")

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    server.hits, server.keys = 0, KEYS
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_keys_are_fetched_once_with_the_first_token(mesh, plane, issuer):
    """Nothing is fetched when the reader is built, and an unknown key is no reason to ask at once again."""
    reader = jwt_reader(jwks=None, jwks_url=f"http://127.0.0.1:{issuer.server_port}/")
    assert issuer.hits == 0
    for token, known in ((token_of(), True), (token_of(), True), (token_of(kid="unknown"), False)):
        headers = [("authorization", f"Bearer {token}")]
        assert decided(mesh, plane, reader=reader, headers=headers).principal.authenticated is known
    assert issuer.hits == 1


def test_tokens_that_arrive_together_wait_for_one_fetch(mesh, plane, issuer):
    """No caller is turned away because somebody else is fetching."""
    reader = jwt_reader(jwks=None, jwks_url=f"http://127.0.0.1:{issuer.server_port}/")
    app = MeshMiddleware(ok, mesh, principal=reader)

    async def together():
        scopes = [scope_of(headers=[("authorization", f"Bearer {token_of()}")]) for _ in range(5)]
        await asyncio.gather(*(call(app, scope) for scope in scopes))

    asyncio.run(together())
    assert [request.principal.authenticated for request in plane.requests] == [True] * 5
    assert issuer.hits == 1


def test_keys_that_cannot_be_had_mean_nobody(mesh, plane, issuer):
    """The failure is counted and not repeated for every token."""
    issuer.keys = None
    reader = jwt_reader(jwks=None, jwks_url=f"http://127.0.0.1:{issuer.server_port}/")
    for _ in range(2):
        headers = [("authorization", f"Bearer {token_of()}")]
        assert not decided(mesh, plane, reader=reader, headers=headers).principal.authenticated
    assert issuer.hits == 1
    assert mesh.telemetry.drops.read()["principal", "keys_unavailable"] == 1


def test_a_token_is_read_under_wsgi_too(mesh, plane):
    """The environ's header is the same header."""
    app = WSGIMeshMiddleware(lambda environ, start: [b""], mesh, principal=jwt_reader())
    app({"REQUEST_METHOD": "GET", "PATH_INFO": "/", "HTTP_AUTHORIZATION": f"Bearer {token_of()}"}, lambda *_: None)
    assert plane.requests[0].principal.id == "u-1"
