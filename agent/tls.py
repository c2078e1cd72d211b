"""TLS to the host: certificates and keys from files, a pinned key.

Rules not to break:
1. Somebody is always authenticated: a CA file, a pinned key, or both. Neither is an error.
2. Never below TLS 1.2; an encrypted key file is an error (OpenSSL would ask on a terminal that
   nobody watches).
3. A pin is the SHA-256 of the certificate's public key (SubjectPublicKeyInfo, RFC 7469, section
   2.4), so that a renewed certificate with the same key still fits.

Only a lane with TLS imports this: it loads OpenSSL.

A certificate's dates are judged by the wall clock. A board whose clock fell back to 1970 cannot
connect by CA, but can by pin alone.
"""

from __future__ import annotations

import base64
import binascii
import ssl

from agent.tls_certificate import public_key_hash
from agent.tls_settings import SYSTEM_CA, TlsError, TlsSettings
from agent.tls_stream import TlsStream
from protocol.frozen import dataclass

PIN_BYTES = 32


@dataclass(frozen=True, slots=True)
class TlsClient:
    """Ready to connect."""

    context: ssl.SSLContext
    server_name: str
    pins: frozenset[bytes]

    def stream(self) -> TlsStream:
        """For one connection."""
        return TlsStream(self.context, self.server_name, self.check_pin)

    def check_pin(self, certificate: bytes) -> None:
        """Raises TlsError unless the certificate (DER) bears a pinned key. Without pins all do."""
        if self.pins and public_key_hash(certificate) not in self.pins:
            seen = public_key_hash(certificate).hex()
            raise TlsError(f"the host's public key is not the pinned one (it is {seen})", "ask the acquirer first")


def tls_client(settings: TlsSettings, address: str) -> TlsClient:
    """The client side for one host. Raises TlsError naming the file or setting that is wrong."""
    pins = frozenset(_pin(text) for text in settings.pins)
    if not settings.ca_file and not pins:
        raise TlsError("neither a CA file nor a pinned key", "without one of them anybody could be the host")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3 if settings.minimum == "1.3" else ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION  # so that writing never waits for reading
    _trust(context, settings.ca_file)
    _identify(context, settings.client_certificate, settings.client_key)
    name = settings.server_name or address
    try:
        context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname=name)
    except ValueError as error:
        raise TlsError(f"{name!r} is no possible server name") from error
    return TlsClient(context, name, pins)


def _pin(text: str) -> bytes:
    try:
        pin = bytes.fromhex(text) if len(text) == 2 * PIN_BYTES else base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        pin = b""
    if len(pin) != PIN_BYTES:
        raise TlsError(f"pin {text!r} is no SHA-256", "64 hexadecimal digits or 44 characters base64")
    return pin


def _trust(context: ssl.SSLContext, ca_file: str) -> None:
    if not ca_file:  # the pin alone decides
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return
    try:
        if ca_file == SYSTEM_CA:
            context.load_default_certs()
        else:
            context.load_verify_locations(cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        raise TlsError(f"cannot load CA certificates from {ca_file}", "PEM is expected") from error


def _identify(context: ssl.SSLContext, certificate: str, key: str) -> None:
    if not certificate:
        if key:
            raise TlsError("a client key without a client certificate", "give both or none")
        return
    try:
        context.load_cert_chain(certificate, key or None, password=_no_password)
    except (OSError, ValueError, ssl.SSLError) as error:
        hint = "PEM, key not encrypted, key and certificate belong together, readable by the agent only"
        raise TlsError(f"cannot load the client certificate {certificate}", hint) from error


def _no_password() -> str:
    raise ValueError("the key file is encrypted")
