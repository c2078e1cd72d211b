"""The error of everything that has to do with the data keys: key file, what it is wrapped under, sealed bodies."""

from __future__ import annotations

from protocol.errors import AgentError


class VaultError(AgentError):
    """A key file cannot be used, or a sealed body does not open with the keys at hand. It never holds a key."""

    code = "E-VAULT"
