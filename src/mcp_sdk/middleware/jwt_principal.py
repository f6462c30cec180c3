"""``JwtPrincipal``: who calls, by a JSON Web Token that is checked against its issuer's keys (extra ``jwt``).

RFC 7519 (tokens), RFC 7517 (key sets), RFC 8725 (their best practice), RFC 9068 (access tokens), RFC 8176 (``amr``),
RFC 6750 (``Authorization: Bearer``). The signature is PyJWT's work.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from importlib import import_module
from threading import Lock
from types import MappingProxyType
from typing import Any

from mcp_sdk.decisions import Principal
from mcp_sdk.enforcement import Run
from mcp_sdk.exceptions import ConfigurationError, MissingExtra
from mcp_sdk.middleware.principal import Unread

__all__ = ["ASYMMETRIC", "JwtPrincipal"]

ASYMMETRIC = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
SYMMETRIC = ("HS256", "HS384", "HS512")
_KEY_TYPES = {"RS": "RSA", "PS": "RSA", "ES": "EC", "Ed": "OKP", "HS": "oct"}
MAX_TOKEN = 16_384
LIFESPAN = 600.0
"""Seconds that a fetched key set is kept."""

LEEWAY = 10.0
"""Seconds that clocks may be apart."""

COOLDOWN = 30.0
"""Seconds between two fetches of a key set that were caused by an unknown key or a failure."""


class JwtPrincipal:
    """A reader for ``MeshMiddleware(..., principal=JwtPrincipal(...))``.

    The keys are those of ``jwks_url`` (fetched with the first token, kept for ten minutes, renewed for a key
    that is not among them, at most twice a minute) or of ``jwks``, a key set as a mapping. ``issuer`` and ``audience``
    must be the token's; it must not have expired (ten seconds are forgiven). ``algorithms`` are asymmetric
    unless ``jwks`` holds shared secrets, and are never mixed; ``none`` is refused. ``attributes`` names further claims
    for ``principal.attributes``. A token that does not hold, or keys that cannot be had, mean nobody, and are counted.

    ``sub`` becomes the id, ``scope`` or ``scp`` the scopes, ``roles`` the roles, ``amr`` that holds ``mfa`` the mfa;
    ``acr`` and ``auth_time`` are as they are. Raises ``MissingExtra`` without PyJWT, ``ConfigurationError`` for what
    cannot be secure.
    """

    def __init__(
        self,
        *,
        issuer: str,
        audience: str | Sequence[str],
        jwks_url: str = "",
        jwks: Mapping[str, Any] | None = None,
        algorithms: Sequence[str] = ("RS256", "ES256"),
        attributes: Iterable[str] = (),
    ) -> None:
        self._jwt = _pyjwt()
        if bool(jwks_url) == (jwks is not None):
            raise ConfigurationError("JwtPrincipal needs one of jwks_url and jwks")
        if jwks_url and not jwks_url.startswith(("https://", "http://")):
            raise ConfigurationError(f"jwks_url is {jwks_url!r}; it must be an http or https URL")
        if not issuer or not audience:
            raise ConfigurationError("JwtPrincipal needs the issuer and the audience that tokens must have")
        _check_algorithms(algorithms, shared=jwks is not None)
        self._algorithms = tuple(algorithms)
        self._expected = {"issuer": issuer, "audience": audience, "leeway": LEEWAY}
        self._attributes = tuple(attributes)
        self._keys = _Fetched(self._jwt, jwks_url) if jwks_url else _Given(self._jwt, jwks or {})

    def __call__(self, carrier: Mapping[str, Any]) -> Principal | Run | None:
        """Read the bearer token of a scope or environ; gives ``Run`` where keys have to be fetched first."""
        token = _bearer(carrier)
        if token is None:
            return None
        try:
            header = self._jwt.get_unverified_header(token)
        except self._jwt.PyJWTError:
            raise Unread("malformed") from None
        kid, algorithm = header.get("kid"), header.get("alg")
        if algorithm not in self._algorithms:
            raise Unread("algorithm")
        key = self._keys.find(kid)
        if key is None and self._keys.may_fetch():
            return Run(lambda: self._after_fetch(token, kid, algorithm))
        return self._principal(token, key, algorithm)

    def _after_fetch(self, token: str, kid: Any, algorithm: str) -> Principal:
        try:
            self._keys.fetch()
        except Exception:  # noqa: BLE001 - a key set that cannot be had, whatever is wrong with it
            raise Unread("keys_unavailable") from None
        return self._principal(token, self._keys.find(kid), algorithm)

    def _principal(self, token: str, key: Any, algorithm: str) -> Principal:
        if key is None:
            raise Unread("unknown_key")
        if key.key_type != _KEY_TYPES[algorithm[:2]] or key.public_key_use == "enc":
            raise Unread("algorithm")
        try:
            claims = self._jwt.decode(
                token,
                key.key,
                algorithms=[algorithm],
                options={"require": ["exp", "iss", "aud", "sub"]},
                **self._expected,
            )
        except self._jwt.PyJWTError as error:
            raise Unread("expired" if isinstance(error, self._jwt.ExpiredSignatureError) else "invalid") from None
        return self._told(claims)

    def _told(self, claims: Mapping[str, Any]) -> Principal:
        if not isinstance(claims["sub"], str) or not claims["sub"]:
            raise Unread("invalid")
        acr = claims.get("acr")
        return Principal(
            id=claims["sub"],
            authenticated=True,
            roles=_texts(claims.get("roles")),
            scopes=_texts(claims.get("scope", claims.get("scp"))),
            mfa="mfa" in _texts(claims.get("amr")),
            acr=acr if isinstance(acr, str) else "",
            auth_time=_moment(claims.get("auth_time")),
            attributes=MappingProxyType(dict(_chosen(claims, self._attributes))),
        )


def _pyjwt() -> Any:
    try:
        import_module("cryptography")
        return import_module("jwt")
    except ModuleNotFoundError as error:
        raise MissingExtra("PyJWT[crypto]", extra="jwt", purpose="JwtPrincipal") from error


def _check_algorithms(algorithms: Sequence[str], *, shared: bool) -> None:
    chosen = set(algorithms)
    if not chosen or chosen - {*ASYMMETRIC, *SYMMETRIC}:
        unknown = sorted(chosen - {*ASYMMETRIC, *SYMMETRIC})
        raise ConfigurationError(f"algorithms {unknown} cannot be trusted. Known: {', '.join(ASYMMETRIC + SYMMETRIC)}.")
    if chosen & set(SYMMETRIC) and (not shared or chosen & set(ASYMMETRIC)):
        raise ConfigurationError("HS* algorithms need jwks with shared secrets, and no other algorithms beside them")


class _Given:
    """The keys of a key set that the application gave."""

    def __init__(self, pyjwt: Any, keys: Mapping[str, Any]) -> None:
        try:
            self._keys = pyjwt.PyJWKSet.from_dict(dict(keys)).keys
        except (pyjwt.PyJWTError, AttributeError) as error:
            raise ConfigurationError(f"jwks is no usable key set: {error}") from error

    def find(self, kid: Any) -> Any:
        """Give the key of that name; without a name the only one there is."""
        return _key_of(self._keys, kid)

    def may_fetch(self) -> bool:
        """Tell whether fetching could help."""
        return False

    def fetch(self) -> None:
        """Do nothing: what was given stays."""


class _Fetched:
    """The keys of a key set behind a URL. Old keys stand while it cannot be had."""

    def __init__(self, pyjwt: Any, url: str) -> None:
        try:
            self._client = pyjwt.PyJWKClient(url, cache_jwk_set=False, timeout=3)
        except pyjwt.PyJWTError as error:
            raise ConfigurationError(f"jwks_url: {error}") from error
        self._lock = Lock()
        self._keys: Sequence[Any] = ()
        self._fetched = self._tried = float("-inf")

    def find(self, kid: Any) -> Any:
        """Give the key of that name; None when it is not there, or too old and it is time to ask again."""
        if time.monotonic() - self._fetched > LIFESPAN and self.may_fetch():
            return None
        return _key_of(self._keys, kid)

    def may_fetch(self) -> bool:
        """Tell whether it is time to fetch again."""
        return time.monotonic() - self._tried > COOLDOWN

    def fetch(self) -> None:
        """Fetch the keys, once for all who wait for them; raises what went wrong, unless older keys stand."""
        with self._lock:
            if self.may_fetch():
                try:
                    self._keys = self._client.get_jwk_set().keys
                    self._fetched = time.monotonic()
                except Exception:
                    if not self._keys:
                        raise
                finally:
                    self._tried = time.monotonic()


def _key_of(keys: Sequence[Any], kid: Any) -> Any:
    if kid is None:
        return keys[0] if len(keys) == 1 else None
    return next((key for key in keys if key.key_id == kid), None)


def _bearer(carrier: Mapping[str, Any]) -> str | None:
    """Give the bearer token of a request; None without one, or with several."""
    if "headers" in carrier:
        values = [value.decode("latin-1") for name, value in carrier["headers"] if name.lower() == b"authorization"]
    else:
        values = [carrier["HTTP_AUTHORIZATION"]] if carrier.get("HTTP_AUTHORIZATION") else []
    if len(values) != 1:
        return None
    scheme, _, token = values[0].partition(" ")
    token = token.strip()
    return token if scheme.lower() == "bearer" and token and len(token) <= MAX_TOKEN else None


def _texts(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        return tuple(value.split())
    return tuple(item for item in value if isinstance(item, str)) if isinstance(value, list) else ()


def _moment(value: Any) -> datetime | None:
    try:
        return datetime.fromtimestamp(value, UTC) if type(value) in (int, float) else None
    except (ValueError, OverflowError, OSError):
        return None


def _chosen(claims: Mapping[str, Any], names: Iterable[str]) -> Iterable[tuple[str, Any]]:
    for name in names:
        value = claims.get(name)
        if isinstance(value, (str, bool, int)) or (
            isinstance(value, list) and all(isinstance(item, str) for item in value)
        ):
            yield name, tuple(value) if isinstance(value, list) else value
