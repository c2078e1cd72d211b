"""TLS to the host: certificates and keys from files, a pinned key, days to expiry.

Rules not to break:
1. Somebody is always authenticated: a CA file, a pinned key, or both. Neither is an error.
2. Never below TLS 1.2; an encrypted key file is an error (OpenSSL would ask on a terminal that
   nobody watches).
3. A pin is the SHA-256 of the certificate's public key (SubjectPublicKeyInfo, RFC 7469, section
   2.4), so that a renewed certificate with the same key still fits.

A certificate's dates are judged by the wall clock. A board whose clock fell back to 1970 cannot
connect by CA, but can by pin alone.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import ssl
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from protocol.errors import AgentError
from protocol.frozen import dataclass

SYSTEM_CA = "system"
PIN_BYTES = 32
_SECONDS_A_DAY = 86400


class TlsError(AgentError):
    """TLS settings cannot be used, or the host's certificate is not the pinned one."""

    code = "E-TLS"


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """As configured. `ca_file`: PEM, "system" for the system's store, "" for none (then pins are needed).

    `pins`: SHA-256 of the public key, hexadecimal or base64; any of them fits. `server_name`: the
    name to ask for and to check; "" is the host's address.
    """

    ca_file: str = ""
    pins: tuple[str, ...] = ()
    client_certificate: str = ""
    client_key: str = ""
    server_name: str = ""
    minimum: Literal["1.2", "1.3"] = "1.2"


@dataclass(frozen=True, slots=True)
class TlsClient:
    """Ready to connect."""

    context: ssl.SSLContext
    server_name: str
    pins: frozenset[bytes]

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


def public_key_hash(certificate: bytes) -> bytes:
    """SHA-256 of the public key of a certificate (DER). Raises TlsError."""
    return hashlib.sha256(_parts(certificate).public_key).digest()


def not_after(certificate: bytes) -> datetime:
    """Last moment of a certificate (DER), in UTC. Raises TlsError."""
    return _parts(certificate).not_after


def days_to_expiry(certificate: bytes, at_utc: datetime) -> int:
    """Whole days that the certificate (DER) is still valid; negative when it has expired."""
    return int((not_after(certificate) - at_utc).total_seconds() // _SECONDS_A_DAY)


def read_certificate(path: str | Path) -> bytes:
    """The first certificate of a PEM file, as DER. Raises TlsError."""
    begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
    try:
        text = Path(path).read_text("ascii")
        first = text[text.index(begin) : text.index(end) + len(end)]
        return ssl.PEM_cert_to_DER_cert(first)
    except (OSError, ValueError) as error:
        raise TlsError(f"cannot read a certificate from {path}", "PEM is expected") from error


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


# --- the few bytes of DER that are needed ---------------------------------------------------
# RFC 5280, section 4.1: Certificate = SEQUENCE { TBSCertificate, ... }, and TBSCertificate =
#   SEQUENCE { [0] version OPTIONAL, serialNumber, signature, issuer, validity, subject,
#              subjectPublicKeyInfo, ... }
# `cryptography` could parse this too, but costs megabytes that a lane with TLS would carry for good,
# and re-encodes the key instead of giving its bytes.

_SEQUENCE, _VERSION, _UTC_TIME, _GENERALIZED_TIME = 0x30, 0xA0, 0x17, 0x18


@dataclass(frozen=True, slots=True)
class _Parts:
    public_key: bytes
    not_after: datetime


def _parts(certificate: bytes) -> _Parts:
    try:
        fields = _children(_children(_element(certificate, 0)[1])[0][1])
        if fields[0][0] == _VERSION:
            fields = fields[1:]
        validity, public_key = fields[3], fields[5]
        last = _children(validity[1])[1]
        return _Parts(public_key[2], _time(*last[:2]))
    except (IndexError, ValueError) as error:
        raise TlsError("the certificate cannot be read") from error


def _element(data: bytes, at: int) -> tuple[int, bytes, bytes]:
    """Tag, content and whole encoding of the element that starts at `at`."""
    tag, length, start = data[at], data[at + 1], at + 2
    if length & 0x80:
        size = length & 0x7F
        length, start = int.from_bytes(data[start : start + size], "big"), start + size
    if start + length > len(data):
        raise ValueError("truncated")
    return tag, data[start : start + length], data[at : start + length]


def _children(content: bytes) -> list[tuple[int, bytes, bytes]]:
    elements, at = [], 0
    while at < len(content):
        element = _element(content, at)
        elements.append(element)
        at += len(element[2])
    return elements


def _time(tag: int, content: bytes) -> datetime:
    text = content.decode("ascii")
    if tag == _UTC_TIME:  # two digits of the year: 50..99 are 19xx (RFC 5280, section 4.1.2.5.1)
        text = ("19" if text[:2] >= "50" else "20") + text
    elif tag != _GENERALIZED_TIME:
        raise ValueError("no time")
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)
