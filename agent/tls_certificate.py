"""What the agent wants to know of a certificate (DER): the hash of its public key, and its last day.

`cryptography` could parse it too, but costs megabytes that a lane with TLS would carry for good,
and re-encodes the key instead of giving its bytes.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime

from agent.tls_settings import TlsError
from protocol.frozen import dataclass

# RFC 5280, section 4.1: Certificate = SEQUENCE { TBSCertificate, ... }, and TBSCertificate =
#   SEQUENCE { [0] version OPTIONAL, serialNumber, signature, issuer, validity, subject,
#              subjectPublicKeyInfo, ... }

_VERSION, _UTC_TIME, _GENERALIZED_TIME = 0xA0, 0x17, 0x18


def public_key_hash(certificate: bytes) -> bytes:
    """SHA-256 of the public key of a certificate (DER). Raises TlsError."""
    return hashlib.sha256(_parts(certificate).public_key).digest()


def not_after(certificate: bytes) -> datetime:
    """Last moment of a certificate (DER), in UTC. Raises TlsError."""
    return _parts(certificate).not_after


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
