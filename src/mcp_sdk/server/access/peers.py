"""The client's certificate, from the TLS connection to the application.

uvicorn does not say it; here it does, in the form of the ASGI extension ``tls``
(https://asgi.readthedocs.io/en/latest/specs/tls.html), so that any server that speaks it will do. The connection has
verified the certificate by then; one without a certificate has none here.
"""

from __future__ import annotations

import asyncio
import ssl
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from cryptography import x509
from cryptography.x509.oid import NameOID
from uvicorn.protocols.http.auto import AutoHTTPProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from mcp_sdk.server.unread import Impatient

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.types import ASGIApp, Receive, Scope, Send

__all__ = ["Http", "Peer", "WebSocket", "peer_of"]


class Peer(NamedTuple):
    """Who a certificate names: a SPIFFE id, or ``cn:`` and the common name; ``expires`` is in seconds of the epoch."""

    subject: str
    expires: float


class _Telling:
    """Adds the certificate of a connection to the scope of each of its requests."""

    app: ASGIApp

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin; the handshake is over."""
        super().connection_made(transport)  # type: ignore[misc]
        spoken: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
        content = None if spoken is None else spoken.getpeercert(binary_form=True)
        if content:
            self.app = _with(self.app, ssl.DER_cert_to_PEM_cert(content))


class Http(_Telling, Impatient, AutoHTTPProtocol):  # type: ignore[misc,valid-type]
    """HTTP that says who the client is, and does not wait for ever for one that does not read."""


class WebSocket(_Telling, Impatient, WebSocketsSansIOProtocol):
    """WebSocket that says who the client is, and does not wait for ever for one that does not read."""


def _with(app: ASGIApp, pem: str) -> ASGIApp:
    told = {"client_cert_chain": (pem,), "client_cert_error": None}

    async def telling(scope: Scope, receive: Receive, send: Send) -> None:
        extensions = {**(scope.get("extensions") or {}), "tls": told}
        await app({**scope, "extensions": extensions}, receive, send)

    return telling


def peer_of(scope: Mapping[str, Any]) -> Peer | None:
    """Give who the certificate of a connection names; None without one, or where it names nobody or several."""
    chain = ((scope.get("extensions") or {}).get("tls") or {}).get("client_cert_chain") or ()
    return _read(chain[0]) if chain else None


@lru_cache(maxsize=4096)
def _read(pem: str) -> Peer | None:
    try:
        certificate = x509.load_pem_x509_certificate(pem.encode())
        subject = _spiffe(certificate)
    except ValueError:
        return None
    return Peer(subject, certificate.not_valid_after_utc.timestamp()) if subject else None


def _spiffe(certificate: x509.Certificate) -> str:
    """Give the subject. An SVID has exactly one URI (SPIFFE X509-SVID, section 2); with several it is nobody's."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    except x509.ExtensionNotFound:
        uris = []
    if uris:
        return uris[0] if len(uris) == 1 and uris[0].startswith("spiffe://") else ""
    common = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return f"cn:{common[0].value!s}" if len(common) == 1 and common[0].value else ""
