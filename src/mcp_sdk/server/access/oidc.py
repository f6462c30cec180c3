"""Bearer tokens of an OpenID provider: their keys are found, fetched and kept; what they claim becomes subjects.

OpenID Connect Discovery 1.0 section 4 (where the keys are), RFC 9068 (access tokens). Checking is ``JwtPrincipal``'s.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx

from mcp_sdk.decisions import Principal
from mcp_sdk.enforcement import Run
from mcp_sdk.exceptions import ConfigurationError, StoreUnavailable
from mcp_sdk.middleware.jwt_principal import JwtPrincipal
from mcp_sdk.middleware.principal import Unread
from mcp_sdk.server.access.callers import Caller
from mcp_sdk.server.access.tokens import unauthorised

__all__ = ["Oidc"]

ALGORITHMS = ("RS256", "PS256", "ES256", "EdDSA")
RETRY = 5.0
"""Seconds between two attempts to find an issuer's keys."""


class Oidc:
    """Reads tokens of ``issuer`` for ``audience``. Nothing is fetched before the first token."""

    def __init__(self, issuer: str, audience: str) -> None:
        if not issuer.startswith("https://") and not _on_loopback(issuer):
            raise ConfigurationError(f"--oidc-issuer is {issuer!r:.120}; it must be an https URL, or on loopback")
        if not audience:
            raise ConfigurationError("--oidc-issuer needs --oidc-audience: the name that tokens for this server carry")
        self._issuer, self._audience = issuer, audience
        self._reader: JwtPrincipal | None = None
        self._tried = float("-inf")
        self._finding = asyncio.Lock()

    async def caller(self, carrier: Mapping[str, Any]) -> Caller:
        """Give who a request's bearer token names, without grants yet; raises a 401, or a 503 without the keys."""
        reader = self._reader or await self._found()
        try:
            said = reader(carrier)
            if isinstance(said, Run):
                said = await asyncio.to_thread(said.function)
        except Unread as error:
            if error.reason == "keys_unavailable":
                raise StoreUnavailable("the keys of the OpenID provider cannot be had just now") from error
            raise unauthorised(_TOLD.get(error.reason, "the token does not hold")) from error
        if not isinstance(said, Principal):
            raise unauthorised("the token is not one of this server's, nor of its OpenID provider")
        return _caller(said)

    async def _found(self) -> JwtPrincipal:
        async with self._finding:
            if self._reader is None:
                if time.monotonic() - self._tried < RETRY:
                    raise StoreUnavailable("the OpenID provider does not answer, so its tokens cannot be checked")
                self._tried = time.monotonic()
                self._reader = JwtPrincipal(
                    issuer=self._issuer,
                    audience=self._audience,
                    jwks_url=await self._keys_at(),
                    algorithms=ALGORITHMS,
                    attributes=("groups", "exp", "email"),
                )
            return self._reader

    async def _keys_at(self) -> str:
        address = self._issuer.rstrip("/") + "/.well-known/openid-configuration"
        try:
            async with httpx.AsyncClient(timeout=5, trust_env=False) as client:
                plain = (await client.get(address)).raise_for_status().json()
            said, keys = str(plain["issuer"]), str(plain["jwks_uri"])
        except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
            raise StoreUnavailable(f"the OpenID provider does not answer: {type(error).__name__}") from error
        if said != self._issuer:
            raise StoreUnavailable(f"the OpenID provider calls itself {said!r:.120}, not as --oidc-issuer says")
        return keys


_TOLD = {
    "expired": "the token has expired; sign in again",
    "algorithm": f"the token is signed in another way than {', '.join(ALGORITHMS)}",
}


def _caller(principal: Principal) -> Caller:
    groups, until = principal.attributes.get("groups", ()), principal.attributes.get("exp")
    subjects = [f"oidc:sub:{principal.id}"]
    subjects += [f"oidc:group:{one}" for one in (groups if isinstance(groups, tuple) else (groups,))]
    subjects += [f"oidc:role:{one}" for one in principal.roles]
    name = principal.attributes.get("email")
    return Caller(
        name if isinstance(name, str) else principal.id,
        expires=float(until) if isinstance(until, int) else 0.0,
        key=subjects[0],
        subjects=tuple(subjects),
    )


def _on_loopback(issuer: str) -> bool:
    said = urlsplit(issuer)
    return said.scheme == "http" and said.hostname in ("127.0.0.1", "localhost", "::1")
