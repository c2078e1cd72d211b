"""TLS as configured, and what can go wrong with it. Nothing here loads OpenSSL: a daemon without TLS has none."""

from __future__ import annotations

from typing import Literal

from protocol.errors import AgentError
from protocol.frozen import dataclass

SYSTEM_CA = "system"


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
