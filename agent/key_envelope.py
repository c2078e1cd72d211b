"""The wrapped form of a key file: its clear lines, sealed under a file key that a source keeps wrapped.

    wrapped 1 LABEL TOKEN    the kind of source (`key:ID` of a wrapping key, or `program`); the file key, wrapped by it
    body SEALED              the clear lines: nonce (12) | AES-256-GCM under the file key, bound to the line above

Both in base64. The source is asked once for the whole file, however many keys are in it. Each writing has a file key of
its own: one that leaked opens nothing that is written later.

Rules not to break:

1. A source that has wrapped must unwrap again, and give the same, before a file relies on it: one that can only wrap
   would lose every data key at the next start.
2. What does not authenticate is not used, and no error holds any of it.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import os
from collections.abc import Sequence
from dataclasses import field
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from agent.key_material import KEY_BYTES, significant_lines
from agent.key_wrapper import TOKEN_BYTES_MAX, KeyWrapper
from agent.vault_error import VaultError
from protocol.frozen import dataclass

_FIRST = b"wrapped"
_VERSION = b"1"
_COMMENT = b'# Data keys, wrapped: docs/security.md, "Keys".\n'
_NONCE_BYTES = 12
_TAG_BYTES = 16
RESTORE = "restore it from its backup"


@dataclass(frozen=True, slots=True)
class Envelope:
    """An open one: what a file is written with. `source`: the name of what wrapped it."""

    source: str
    head: bytes
    cipher: AESGCM = field(repr=False)

    def closed(self, lines: bytes) -> bytes:
        """The whole content of a wrapped key file that holds these clear lines."""
        nonce = os.urandom(_NONCE_BYTES)
        sealed = nonce + self.cipher.encrypt(nonce, lines, self.head)
        return _COMMENT + self.head + b"\nbody " + base64.b64encode(sealed) + b"\n"


@dataclass(frozen=True, slots=True)
class _Closed:
    """A wrapped key file as it lies on the disk."""

    head: bytes
    label: str
    token: bytes
    sealed: bytes

    def open(self, key: bytes, wrapper: KeyWrapper) -> tuple[Envelope, bytes]:
        """Raises InvalidTag."""
        cipher = AESGCM(key)
        lines = cipher.decrypt(self.sealed[:_NONCE_BYTES], self.sealed[_NONCE_BYTES:], self.head)
        return Envelope(wrapper.name, self.head, cipher), lines


def is_wrapped(content: bytes) -> bool:
    """Whether this is the content of a wrapped key file, whole or damaged."""
    lines = significant_lines(content) if len(content) != KEY_BYTES else []
    return bool(lines) and lines[0][1].split(b" ")[0] == _FIRST


def label_of(path: Path, content: bytes) -> str:
    """Under what it is wrapped, without opening it. Raises VaultError where it is damaged."""
    return _parsed(path, content).label


def new_envelope(wrapper: KeyWrapper) -> Envelope:
    """A new file key, wrapped by the source and proven to be unwrapped by it. Raises VaultError."""
    key = os.urandom(KEY_BYTES)
    label, token = wrapper.wrap(key)
    if not 0 < len(token) <= TOKEN_BYTES_MAX or key in token:
        raise VaultError(f"{wrapper.name} does not wrap: it gives the key back as it is", "nothing was changed")
    if not hmac.compare_digest(wrapper.unwrap(label, token), key):
        hint = "nothing was changed; data keys wrapped by it could never be opened again"
        raise VaultError(f"{wrapper.name} unwraps another key than it has wrapped", hint)
    head = b" ".join((_FIRST, _VERSION, label.encode(), base64.b64encode(token)))
    return Envelope(wrapper.name, head, AESGCM(key))


def opened(path: Path, content: bytes, wrappers: Sequence[KeyWrapper]) -> tuple[Envelope, bytes]:
    """The envelope of a wrapped key file and its clear lines, by the first source that can. Raises VaultError."""
    closed = _parsed(path, content)
    problems: list[VaultError] = []
    for wrapper in (one for one in wrappers if one.fits(closed.label)):
        try:
            return closed.open(wrapper.unwrap(closed.label, closed.token), wrapper)
        except VaultError as error:
            problems.append(error)
        except InvalidTag:
            hint = f"put back what wrapped it; where that is in place, the file is damaged: {RESTORE}"
            problems.append(VaultError(f"{wrapper.name} gives a key that does not open key file {path}", hint))
    if not problems:
        under = closed.label.replace(":", " ") if closed.label.startswith("key:") else "the key of a program"
        text = f"key file {path} is wrapped under {under}, and no [[keys.wrapping]] names such a source"
        raise VaultError(text, "put back the one that wrapped it")
    raise VaultError("; ".join(problem.text for problem in problems), problems[0].hint)


def reopened(envelope: Envelope, path: Path, content: bytes) -> bytes:
    """The clear lines of a file that was read or written with this envelope; no source is asked. Raises VaultError."""
    sealed = _parsed(path, content).sealed
    try:
        return envelope.cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], envelope.head)
    except InvalidTag:
        raise VaultError(f"key file {path} is damaged", RESTORE) from None


def _parsed(path: Path, content: bytes) -> _Closed:
    lines = [line for _, line in significant_lines(content)]
    try:
        head, (word, body) = lines[0], lines[1].split(b" ")
        first, version, label, token = head.split(b" ")
        if (first, version, word, len(lines)) != (_FIRST, _VERSION, b"body", 2):
            raise ValueError
        sealed = base64.b64decode(body, validate=True)
        if len(sealed) < _NONCE_BYTES + _TAG_BYTES:
            raise ValueError
        return _Closed(head, label.decode("ascii"), base64.b64decode(token, validate=True), sealed)
    except (ValueError, IndexError, binascii.Error):
        raise VaultError(f"key file {path} is wrapped and damaged, or of a later release", RESTORE) from None
