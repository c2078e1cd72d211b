"""Keys of 32 bytes: derived for one purpose each, called by an id that says nothing about them, written as base64."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from pathlib import Path

from agent.vault_error import VaultError

KEY_BYTES = 32
KEY_ID_BYTES = 4


def derive(key: bytes, purpose: bytes) -> bytes:
    """A key for one purpose (one block of HKDF-Expand, RFC 5869: HMAC(key, info | 01))."""
    return hmac.digest(key, b"pos-reversal-agent " + purpose + b"\x01", "sha256")


def id_of(key: bytes) -> str:
    """8 hex digits by which people and files call the key."""
    return hashlib.sha256(derive(key, b"id")).hexdigest()[: 2 * KEY_ID_BYTES]


def text_of(key: bytes) -> str:
    """One line of base64, without its end."""
    return base64.b64encode(key).decode()


def significant_lines(content: bytes) -> list[tuple[int, bytes]]:
    """Number and text of every line that is neither empty nor a comment."""
    numbered = ((number, line.strip()) for number, line in enumerate(content.splitlines(), 1))
    return [(number, line) for number, line in numbered if line and not line.startswith(b"#")]


def key_of(line: bytes, what: str, path: Path, number: int) -> bytes:
    """The key of one line of `what` at `path`. Raises VaultError without repeating any of it."""
    try:
        key = base64.b64decode(line, validate=True)
    except binascii.Error:
        key = b""
    if len(key) != KEY_BYTES:
        hint = f"restore the {what} from its backup"
        raise VaultError(f"{what} {path}, line {number}: not {KEY_BYTES} bytes in base64", hint)
    return key
