"""Who comes in by a client certificate or an OpenID provider, and when a stream ends: real servers, real TLS."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from authority import Authority, Provider
from serving import Replica
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from mcp_sdk.protocol.frames import CLOSE_REFUSED, frame

Who = str | tuple[str, str] | None
ORDERS = "spiffe://mesh/ns/shop/sa/orders"


class Secure(Replica):
    """A replica that speaks TLS and takes client certificates."""

    def __init__(self, directory: Path, authority: Authority) -> None:
        certificate, key = authority.issue("server", common="server", host="127.0.0.1")
        options = ("--tls-certificate", certificate, "--tls-private-key", key, "--tls-client-ca", str(authority.path))
        super().__init__(directory, options=options)
        self.authority, self.url = authority, self.url.replace("http:", "https:")

    def _await_ready(self) -> None:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            assert self.process.poll() is None, (self.directory / f"serve-{self.port}.log").read_text()[-2000:]
            try:
                if self.ask("/readyz").status_code == 200:
                    return
            except httpx.TransportError:
                time.sleep(0.05)
        raise AssertionError("the server was not ready in time")

    def context(self, files: tuple[str, str] | None = None) -> ssl.SSLContext:
        """Give TLS that trusts the server, with a certificate or without."""
        context = ssl.create_default_context(cafile=str(self.authority.path))
        if files:
            context.load_cert_chain(*files)
        return context

    def ask(self, path: str, *, who: Who = None, json: Any = None, method: str = "") -> httpx.Response:
        """Ask as the holder of a token or of a certificate (its files), or as nobody."""
        headers = {"authorization": f"Bearer {who}"} if isinstance(who, str) else {}
        verify = self.context(who if isinstance(who, tuple) else None)
        with httpx.Client(base_url=self.url, verify=verify, headers=headers, trust_env=False, timeout=10) as client:
            return client.request(method or ("GET" if json is None else "POST"), path, json=json)


@pytest.fixture
def secure(tmp_path: Path) -> Iterator[Secure]:
    """A server with TLS."""
    with Secure(tmp_path, Authority(tmp_path)) as running:
        yield running


def test_a_client_certificate_is_a_caller(secure: Secure, tmp_path: Path) -> None:
    """Its SPIFFE id, or else its common name, has the grants of the patterns that it fits; nobody else has them."""
    issue, admin = secure.authority.issue, secure.token
    grant = {"role": "publisher", "targets": ["orders"]}
    body = {"pattern": "spiffe://mesh/ns/shop/sa/*", "grants": [grant], "service": "orders"}
    made = secure.ask("/v1/identities", who=admin, json=body)
    assert made.status_code == 201, made.text
    desks = {"pattern": "cn:desk", "grants": [{"role": "viewer"}]}
    assert secure.ask("/v1/identities", who=admin, json=desks).status_code == 201
    orders, desk = issue("orders", uris=(ORDERS,)), issue("desk", common="desk")
    assert secure.ask("/v1/models", who=orders, json={"models": []}).status_code == 204
    refused = secure.ask("/v1/policies", who=orders, json={"sources": {}, "replaces": 0})
    assert refused.status_code == 403
    assert ORDERS in refused.json()["detail"]
    assert secure.ask("/v1/models", who=desk).status_code == 200
    assert secure.ask("/v1/models", who=desk, json={"models": []}).status_code == 403
    stranger = issue("stranger", uris=("spiffe://mesh/ns/bank/sa/orders",))
    assert secure.ask("/v1/models", who=stranger).status_code == 403
    two = issue("two", uris=(ORDERS, "spiffe://mesh/ns/shop/sa/b"), common="desk")
    assert secure.ask("/v1/models", who=two).status_code == 401
    assert secure.ask("/v1/models").status_code == 401
    forged = Authority(tmp_path, "another CA").issue("forged", uris=(ORDERS,))
    with pytest.raises(httpx.TransportError):
        secure.ask("/v1/models", who=forged)


def test_a_stream_by_a_certificate_ends_with_its_grants(secure: Secure) -> None:
    """What is granted is granted to open streams too, until it is taken away."""
    body = {"pattern": ORDERS, "grants": [{"role": "publisher"}], "service": "orders"}
    path = f"/v1/identities/{secure.ask('/v1/identities', who=secure.token, json=body).json()['id']}"
    context = secure.context(secure.authority.issue("orders", uris=(ORDERS,)))

    def revoke() -> None:
        assert secure.ask(path, who=secure.token, method="DELETE").status_code == 204

    url = secure.url.replace("https", "wss")
    assert asyncio.run(_ended(url, revoke, ssl=context)) == CLOSE_REFUSED


def test_a_stream_that_may_publish_no_more_ends_though_it_may_still_read(secure: Secure) -> None:
    """It would go on being told the keys that baggage is signed with; it comes back without them."""
    viewing = {"pattern": "spiffe://mesh/ns/shop/sa/*", "grants": [{"role": "viewer"}]}
    assert secure.ask("/v1/identities", who=secure.token, json=viewing).status_code == 201
    body = {"pattern": ORDERS, "grants": [{"role": "publisher"}], "service": "orders"}
    path = f"/v1/identities/{secure.ask('/v1/identities', who=secure.token, json=body).json()['id']}"
    context = secure.context(secure.authority.issue("orders", uris=(ORDERS,)))

    def revoke() -> None:
        assert secure.ask(path, who=secure.token, method="DELETE").status_code == 204

    assert asyncio.run(_ended(secure.url.replace("https", "wss"), revoke, ssl=context)) == CLOSE_REFUSED


async def _ended(url: str, revoke: Any, **options: Any) -> int:
    """Open a stream, revoke, and give the code that it is closed with; waits for ten seconds at the most."""
    async with connect(f"{url}/v1/stream", proxy=None, **options) as socket, asyncio.timeout(10):
        await socket.send(frame("hello", protocol=[1], models=[]))
        assert "welcome" in str(await socket.recv())
        await asyncio.to_thread(revoke)
        with suppress(ConnectionClosed):
            while True:
                await socket.recv()
        return int(socket.close_code or 0)


def test_the_stream_of_a_revoked_or_expired_token_is_closed_on_every_replica(tmp_path: Path) -> None:
    """It is revoked on one replica, and its stream on another is refused; an expired one likewise."""
    with Replica(tmp_path) as one, Replica(tmp_path, one.store, token=one.token) as two:
        headers = {"authorization": f"Bearer {one.token}"}

        def admin(method: str, path: str, body: Any = None) -> httpx.Response:
            return httpx.request(method, one.url + path, headers=headers, json=body, trust_env=False, timeout=10)

        def revoked(ttl: float | None) -> int:
            body = {"name": "s", "grants": [{"role": "publisher"}], "service": "s", "ttl": ttl}
            made = admin("POST", "/v1/tokens", body).json()
            bearer = {"authorization": f"Bearer {made['text']}"}
            while httpx.get(f"{two.url}/v1/models", headers=bearer, trust_env=False).status_code == 401:
                time.sleep(0.02)
            revoke = (lambda: None) if ttl else (lambda: admin("DELETE", f"/v1/tokens/{made['id']}"))
            return asyncio.run(_ended(two.url.replace("http", "ws"), revoke, additional_headers=bearer))

        assert revoked(None) == CLOSE_REFUSED
        assert revoked(3.0) == CLOSE_REFUSED


def test_a_token_of_an_openid_provider_is_a_caller(tmp_path: Path) -> None:
    """Subject, groups and roles get what was granted to them; what does not hold is refused, with why."""
    with Provider() as provider:
        options = ("--oidc-issuer", provider.url, "--oidc-audience", "mesh")
        with Replica(tmp_path, options=options) as replica:

            def ask(token: str, method: str = "GET", path: str = "/v1/models", json: Any = None) -> httpx.Response:
                headers = {"authorization": f"Bearer {token}"}
                return httpx.request(
                    method, replica.url + path, headers=headers, json=json, trust_env=False, timeout=10
                )

            for pattern, role in (("oidc:group:platform", "operator"), ("oidc:sub:u-9", "viewer")):
                body = {"pattern": pattern, "grants": [{"role": role}]}
                assert ask(replica.token, "POST", "/v1/identities", body).status_code == 201
            operator = provider.token(groups=["platform"], email="ada@example.org")
            assert ask(operator, path="/v1/audit").status_code == 200
            assert ask(provider.token(sub="u-9")).status_code == 200
            assert ask(provider.token(sub="u-9"), path="/v1/audit").status_code == 403
            assert ask(provider.token()).status_code == 403
            ask(operator, "PUT", "/v1/owners/order", {"services": ["*"]})
            last = ask(replica.token, path="/v1/audit").json()["entries"][-1]
            assert (last["who"], last["identity"]) == ("ada@example.org", "oidc:sub:u-1")
            past = int(time.time()) - 60
            for bad in ({"aud": "other"}, {"iss": "http://x"}, {"exp": past}, {"forged": True}):
                assert ask(provider.token(sub="u-9", **bad)).status_code == 401, bad
            assert "expired" in ask(provider.token(exp=past)).json()["detail"]
