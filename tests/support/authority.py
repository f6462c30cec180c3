"""A certificate authority for tests, and an OpenID provider on loopback."""

from __future__ import annotations

import json
import threading
import time
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from jwt.algorithms import ECAlgorithm

__all__ = ["Authority", "Provider"]


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)] if common else [])


class Authority:
    """Issues certificates into a folder."""

    def __init__(self, folder: Path, name: str = "test CA") -> None:
        self._folder, self._name, self._key = folder, _name(name), ec.generate_private_key(ec.SECP256R1())
        self.path = folder / f"{name.replace(' ', '-')}.crt"
        basic = x509.BasicConstraints(ca=True, path_length=None)
        usage = x509.KeyUsage(*(number in (5, 6) for number in range(9)))
        builder = self._builder(self._name, self._key).add_extension(basic, critical=True)
        made = builder.add_extension(usage, critical=True).sign(self._key, hashes.SHA256())
        self.path.write_bytes(made.public_bytes(serialization.Encoding.PEM))

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(minutes=5))
            .not_valid_after(now + timedelta(hours=1))
            .add_extension(identifier, critical=False)
            .add_extension(issuer, critical=False)
        )

    def issue(self, file: str, *, common: str = "", uris: tuple[str, ...] = (), host: str = "") -> tuple[str, str]:
        """Issue a certificate; gives the paths of it and of its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(uri) for uri in uris]
        names += [x509.IPAddress(ip_address(host))] if host else []
        builder = self._builder(_name(common), key)
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=not common)
        made = builder.sign(self._key, hashes.SHA256())
        certificate, private = self._folder / f"{file}.crt", self._folder / f"{file}.key"
        certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
        plain = serialization.NoEncryption()
        private.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain))
        return str(certificate), str(private)


class Provider:
    """An OpenID provider: discovery, a key set, and tokens. ``with`` it; ``url`` is its issuer."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        keys = {**json.loads(ECAlgorithm.to_jwk(self._key.public_key())), "kid": "k1", "alg": "ES256", "use": "sig"}
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                discovery = {"issuer": provider.url, "jwks_uri": f"{provider.url}/keys"}
                body = json.dumps({"keys": [keys]} if self.path == "/keys" else discovery).encode()
                self.send_response(200)
                self.send_header("content-type", "application/json")
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def token(self, *, forged: bool = False, **claims: Any) -> str:
        """Give a token for the audience ``mesh`` that lasts a minute, unless ``claims`` say otherwise."""
        now = int(time.time())
        said = {"iss": self.url, "aud": "mesh", "sub": "u-1", "iat": now, "exp": now + 60} | claims
        key = ec.generate_private_key(ec.SECP256R1()) if forged else self._key
        return jwt.encode(said, key, algorithm="ES256", headers={"kid": "k1"})
