"""The configuration of a lane: [[lane]], [lane.tls], [lane.retry], and the [[gateway]] before it."""

from __future__ import annotations

from dataclasses import field
from pathlib import Path
from typing import Literal

from agent import config_keys as key
from agent.config_shapes import DAY_S, HOST, IN_THIS_FILE, NAME, NAME_SHAPE, NO_NAME_OR
from protocol.frozen import dataclass

# Single DES, double- and triple-length keys in hexadecimal.
KEY_HEX = r"(?:(?:[0-9A-Fa-f]{16}){1,3})?"
KEY_SHAPE = "16, 32 or 48 hexadecimal digits"


@dataclass(frozen=True, kw_only=True)
class Tls:
    """[lane.tls]: TLS towards the lane's hosts. Without this table the link is clear text.

    At least one of ca_file, system_ca and pin_sha256 is needed: without them anybody could be the host.
    """

    ca_file: Path | None = field(
        default=None, metadata=key.path("Certificates (PEM) one of which must have signed the host's", IN_THIS_FILE)
    )
    system_ca: bool = field(default=False, metadata=key.flag("Trust the certificate authorities of the system"))
    pin_sha256: tuple[str, ...] = field(
        default=(),
        metadata=key.texts(
            "SHA-256 of the host's public key (SubjectPublicKeyInfo, as in RFC 7469); any of them fits",
            r"[0-9A-Fa-f]{64}|[0-9A-Za-z+/]{43}=",
            "64 hexadecimal digits or 44 characters of base64",
            high=8,
        ),
    )
    client_certificate: Path | None = field(
        default=None, metadata=key.path("Our certificate chain (PEM), where the host asks for one", IN_THIS_FILE)
    )
    client_key: Path | None = field(
        default=None, metadata=key.path("Its private key (PEM, not encrypted); mode 0600 or stricter", IN_THIS_FILE)
    )
    server_name: str = field(
        default="",
        metadata=key.text(
            "Name that the host's certificate must bear; default: the host part of the address",
            r"[A-Za-z0-9._-]{0,253}",
            "a host name",
        ),
    )
    minimum: Literal["1.2", "1.3"] = field(
        default="1.2", metadata=key.choice("Lowest TLS version that is accepted", "1.2", "1.3")
    )


@dataclass(frozen=True, kw_only=True)
class Retry:
    """[lane.retry]: replaces single values of the profile's retry rules (same names); what is not given stays."""

    first_delay_s: float | None = field(
        default=None, metadata=key.number("Wait before the first try of a reversal", 0, 3600, "s")
    )
    base_s: float | None = field(
        default=None, metadata=key.number("Wait after the first try that failed", 0.1, 3600, "s")
    )
    factor: float | None = field(default=None, metadata=key.number("Each further wait is longer by this factor", 1, 10))
    cap_s: float | None = field(default=None, metadata=key.number("Longest wait between tries", 0.1, DAY_S, "s"))
    jitter: float | None = field(
        default=None, metadata=key.number("Part of a wait that is spread, seeded by the terminal id", 0, 1)
    )
    park_after_attempts: int | None = field(
        default=None,
        metadata=key.integer(
            "Tries after which the reversal is parked for a person (and tried on more slowly)", 1, 100_000
        ),
    )
    parked_every_s: float | None = field(
        default=None, metadata=key.number("Wait between tries of a parked reversal", 1, 7 * DAY_S, "s")
    )
    connect_timeout_s: float | None = field(
        default=None, metadata=key.number("Longest wait for a connection, TLS included", 0.1, 300, "s")
    )
    send_timeout_s: float | None = field(
        default=None, metadata=key.number("Longest wait until the last byte has left", 0.1, 300, "s")
    )
    reply_timeout_s: float | None = field(
        default=None, metadata=key.number("Longest wait for the host's answer", 0.1, 600, "s")
    )
    overtake_window_s: float | None = field(
        default=None,
        metadata=key.number(
            '"Original not found" within this time after the original left means "try again"', 0, 3600, "s"
        ),
    )
    persistent_connection: bool | None = field(
        default=None, metadata=key.flag("Keep the connection open between messages")
    )


@dataclass(frozen=True, kw_only=True)
class Lane:
    """[[lane]]: one terminal's conversation with its host."""

    name: str = field(metadata=key.text("Its name in the API, status and logs", NAME, NAME_SHAPE))
    profile: str = field(
        metadata=key.text("Host dialect: a name, or a path to a profile file", r"[^\x00-\x1f]{1,255}", "a profile name")
    )
    terminal_id: str = field(metadata=key.text("Terminal id, DE 41", r"[0-9A-Za-z.-]{8}", "8 letters or digits"))
    merchant_id: str = field(metadata=key.text("Merchant id, DE 42", r"[0-9A-Za-z.-]{15}", "15 letters or digits"))
    batch: str = field(
        default="000001", metadata=key.text("Batch number of the first start; then the host's", r"[0-9]{6}", "6 digits")
    )
    first_stan: str = field(
        default="000001",
        metadata=key.text(
            "STAN (DE 11) of the first message on a new journal", r"(?!000000)[0-9]{6}", "6 digits, not 000000"
        ),
    )
    currency: str = field(
        default="156", metadata=key.text("Currency, DE 49: ISO 4217 numeric code", r"[0-9]{3}", "3 digits")
    )
    tpdu: str = field(
        default="",
        metadata=key.text(
            "TPDU of requests; empty: the profile's", r"(?:[0-9A-Fa-f]{10})?", "10 hexadecimal digits or empty"
        ),
    )
    acquirer: str = field(
        default="",
        metadata=key.text("Acquiring institution, DE 32, where the profile uses it", r"[0-9]{0,11}", "up to 11 digits"),
    )
    operator: str = field(
        default="01",
        metadata=key.text(
            "Operator number, where the profile uses it", r"[0-9A-Za-z]{0,3}", "up to 3 letters or digits"
        ),
    )
    hosts: tuple[str, ...] = field(
        metadata=key.texts(
            "Addresses in the order in which they are tried",
            HOST,
            '"name:port", "192.0.2.1:5000" or "[2001:db8::1]:5000"',
            1,
            8,
        )
    )
    tls: Tls | None = field(default=None, metadata=key.table("TLS towards the hosts", Tls))
    retry: Retry = field(default=Retry(), metadata=key.table("Replaces single retry rules of the profile", Retry))
    mac: Literal["none", "software", "pinpad"] = field(
        default="none",
        metadata=key.choice(
            "Who computes the message authentication code. software is for the bench: the key lies in a file",
            "none",
            "software",
            "pinpad",
        ),
    )
    mac_key_file: Path | None = field(
        default=None,
        metadata=key.path(
            'mac = "software": file with the MAC key in hexadecimal; mode 0600 or stricter', IN_THIS_FILE
        ),
    )
    sign_on: bool = field(
        default=False,
        metadata=key.flag("The agent signs on by itself: working keys and batch number come from the host"),
    )
    master_key_file: Path | None = field(
        default=None,
        metadata=key.path(
            'mac = "software" with sign_on: file with the terminal master key in hexadecimal; mode 0600 or stricter',
            IN_THIS_FILE,
        ),
    )
    mac_key: str = field(
        default="",
        repr=False,
        metadata=key.secret('mac = "pinpad": the MAC working key, encrypted under the master key', KEY_HEX, KEY_SHAPE),
    )
    pin_key: str = field(
        default="",
        repr=False,
        metadata=key.secret("The PIN working key, encrypted under the master key", KEY_HEX, KEY_SHAPE),
    )
    pinpad: str = field(
        default="",
        metadata=key.text(
            "Name of the PIN pad device that holds the lane's master key", NO_NAME_OR, "the name of a [[device]]"
        ),
    )
    pinpad_master_key: int = field(default=0, metadata=key.integer("Number of the master key in the PIN pad", 0, 9))


@dataclass(frozen=True, kw_only=True)
class Gateway:
    """[[gateway]]: stands between an existing POS application and the hosts of one lane."""

    lane: str = field(metadata=key.text("The lane whose hosts, profile and terminal id it uses", NAME, NAME_SHAPE))
    listen: str = field(
        metadata=key.text("Where the application connects", HOST, '"127.0.0.1:5001" or "[::1]:5001"'),
    )
    clients: tuple[str, ...] = field(
        default=("127.0.0.1", "::1"),
        metadata=key.texts(
            "Addresses or networks from which applications may connect", r"[0-9A-Fa-f:./]{2,43}", "192.0.2.0/28", 1, 16
        ),
    )
    connections: int = field(
        default=8, metadata=key.integer("Connections at the same time; more are closed at once", 1, 256)
    )
    idle_s: float = field(
        default=600.0, metadata=key.number("A connection that says nothing for so long is closed", 1, DAY_S, "s")
    )
    when_refused: Literal["close", "decline"] = field(
        default="close",
        metadata=key.choice(
            "A request that cannot be recorded: close the connection, or answer with a decline (code 96) "
            "where one can be made",
            "close",
            "decline",
        ),
    )
    unrecorded: tuple[str, ...] = field(
        default=(),
        metadata=key.texts(
            "Message types of requests that the profile does not know as a transaction and that go on unrecorded",
            r"[0129][12][02][0-5]",
            'a message type such as "0220"',
            0,
            8,
        ),
    )
