"""What the data keys may be wrapped under: a source outside of the key file that wraps and unwraps one small key.

agent/wrapping_key.py is one whose key lies in a file or a systemd credential, agent/wrapping_program.py one that asks a
program, and so a secure element. A source of another kind is one more class with these four members.
"""

from __future__ import annotations

from typing import Protocol

# The file key as a source wraps it: RSA-4096 makes 512 bytes, an object of a TPM 2.0 has less than 2 KiB.
TOKEN_BYTES_MAX = 4096


class KeyWrapper(Protocol):
    """One source. Nothing of it shows, logs or keeps the key; each method may take as long as its source needs."""

    @property
    def name(self) -> str:
        """Kind and place, for people."""

    def fits(self, label: str) -> bool:
        """Whether it might have made a token with this label; nothing is read or run to find out."""

    def wrap(self, key: bytes) -> tuple[str, bytes]:
        """A label (no blanks) and the token of 32 bytes, 1 to TOKEN_BYTES_MAX long. Raises VaultError."""

    def unwrap(self, label: str, token: bytes) -> bytes:
        """The 32 bytes. Raises VaultError, with what to do: absent, refused, of another source, damaged."""
