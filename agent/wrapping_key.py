"""A wrapping key that lies in a file: on another medium, or given by systemd as a credential.

The file holds one key: exactly 32 raw bytes, or one line of base64 (44 characters, `#` comments). It is read when it is
needed and not kept: a medium that is taken out after the start is missed only at the next rotation and the next start.

Label `key:ID`; token: nonce (12) | AES-256-GCM of the file key, bound to the label.
"""

from __future__ import annotations

import os
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from agent.key_material import KEY_BYTES, derive, id_of, key_of, significant_lines
from agent.private_file import CREDENTIALS, read_private
from agent.vault_error import VaultError

# Where a tool that systemd did not start finds the credentials of the running service; root may read them.
OF_THE_SERVICE = CREDENTIALS / "reversald.service"
_LABEL = "key:"
_NONCE_BYTES = 12


class WrappingKey:
    """A `KeyWrapper` (agent/key_wrapper.py). `kind` and the place make its name."""

    def __init__(self, kind: str, path: Path, hint: str) -> None:
        self._kind = kind
        self._path = path
        self._hint = hint

    @classmethod
    def in_file(cls, path: Path) -> WrappingKey:
        """On another medium, say."""
        return cls("wrapping key file", path, "mount its medium; a copy in the safe is as good")

    @classmethod
    def in_credential(cls, name: str) -> WrappingKey:
        """As systemd gives it to the service, and to root while the service runs."""
        directory = os.environ.get("CREDENTIALS_DIRECTORY")
        hint = (
            f"LoadCredential={name}:... belongs into the unit; other programs than the service: start the service first"
        )
        return cls("credential", Path(directory or OF_THE_SERVICE) / name, hint)

    @property
    def name(self) -> str:
        """Kind and place."""
        return f"{self._kind} {self._path}"

    def fits(self, label: str) -> bool:
        """Of any wrapping key; which one is seen when the file is read."""
        return label.startswith(_LABEL)

    def wrap(self, key: bytes) -> tuple[str, bytes]:
        """Under the key that is in the file now. Raises VaultError."""
        own = self._read()
        label, nonce = _LABEL + id_of(own), os.urandom(_NONCE_BYTES)
        return label, nonce + _cipher(own).encrypt(nonce, key, label.encode())

    def unwrap(self, label: str, token: bytes) -> bytes:
        """Raises VaultError: no such file, others may read it, another key, a damaged token."""
        own = self._read()
        if label != _LABEL + id_of(own):
            text = f"{self.name} holds key {id_of(own)}, and the key file is wrapped under key {label[len(_LABEL) :]}"
            raise VaultError(text, "put that key back; [[keys.wrapping]] may name both")
        try:
            return _cipher(own).decrypt(token[:_NONCE_BYTES], token[_NONCE_BYTES:], label.encode())
        except (InvalidTag, ValueError):
            raise VaultError(
                "the first line of the key file is damaged", "restore the key file from its backup"
            ) from None

    def _read(self) -> bytes:
        content = read_private(self._kind, self._path, self._hint)
        if len(content) == KEY_BYTES:
            return content
        lines = significant_lines(content)
        if len(lines) != 1:
            raise VaultError(f"{self.name} must hold one key and has {len(lines)} lines", self._hint)
        return key_of(lines[0][1], self._kind, self._path, lines[0][0])


def _cipher(key: bytes) -> AESGCM:
    return AESGCM(derive(key, b"wrap"))
