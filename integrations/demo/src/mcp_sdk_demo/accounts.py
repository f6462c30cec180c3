"""The shop's accounts: issues the tokens that its services accept. A new key is made for each run."""

from __future__ import annotations

import json
import time
from pathlib import Path

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from mcp_sdk_demo.shop.business import ISSUER

__all__ = ["Accounts"]


class Accounts:
    """Signs tokens (RFC 7519, ES256); ``jwks`` is what services check them by."""

    def __init__(self, kid: str = "shop-1") -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._kid = kid

    def publish(self, path: Path) -> None:
        """Write the JSON Web Key Set."""
        public = json.loads(ECAlgorithm.to_jwk(self._key.public_key()))
        path.write_text(json.dumps({"keys": [public | {"kid": self._kid, "use": "sig", "alg": "ES256"}]}))

    def token(
        self, user: str, *, country: str = "DE", roles: tuple[str, ...] = (), mfa: bool = False, ttl: int = 3600
    ) -> str:
        """Give a token of a user; with ``mfa`` one that says so in ``amr`` (RFC 8176)."""
        now = int(time.time())
        claims = {"iss": ISSUER, "aud": "shop", "sub": user, "iat": now, "auth_time": now, "exp": now + ttl}
        claims |= {"country": country, "roles": list(roles), "amr": ["pwd", "otp", "mfa"] if mfa else ["pwd"]}
        return jwt.encode(claims, self._key, algorithm="ES256", headers={"kid": self._kid})
