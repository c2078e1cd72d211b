"""The configuration as the program sees it: one frozen dataclass a section of the file.

A field's metadata is its key (`agent/config_keys.py`): type, unit, range and meaning. Its default
stands in the dataclass; no default means that the key must be given. docs/configuration.md is
compared with these dataclasses by a test.

After `agent.config.load` every path is absolute. A configuration built by hand must be so too.
"""

from __future__ import annotations

from dataclasses import field
from pathlib import Path
from typing import Literal

from agent import config_keys as key
from agent.config_watch import Alerts, Plan, SelfTest
from protocol.frozen import dataclass

NAME = r"[a-z0-9][a-z0-9_-]{0,31}"
NAME_SHAPE = "1 to 32 of a-z, 0-9, _ and -, e.g. till-1"
NO_NAME_OR = rf"(?:{NAME})?"
HOST = r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]{1,253}):[0-9]{1,5}"
# Single DES, double- and triple-length keys in hexadecimal.
KEY_HEX = r"(?:(?:[0-9A-Fa-f]{16}){1,3})?"
KEY_SHAPE = "16, 32 or 48 hexadecimal digits"

PORT = (
    r"serial:/[^\s]+"
    r"|usb:[0-9A-Fa-f]{4}:[0-9A-Fa-f]{4}(?::[^\s]+)?"
    r"|(?:rfc2217|socket|loop|spy|alt|hwgrep|cp2110)://[^\s]*"
)
PORT_SHAPE = (
    '"serial:/dev/pos/reader?baud=115200&format=8N1", "usb:08e6:3437" (with ":SERIAL" where there are two) '
    'or a pyserial URL such as "rfc2217://host:port"'
)

# A user, a group with "%" as in sudoers(5), or everybody who may open the socket.
WHO = r"\*|%?[a-z_][a-z0-9_-]{0,31}"
WHO_SHAPE = 'a user, a group such as "%pos", or "*" for all who may open the socket'

IN_STATE_DIR = "agent.state_dir"
IN_RUN_DIR = "agent.run_dir"
IN_THIS_FILE = "this file's directory"

DAY_S = 86_400
# A TOML file keeps integers in 64 bits; nothing here needs more than this many bytes.
TEBIBYTE = 1 << 40


@dataclass(frozen=True, kw_only=True)
class Agent:
    """[agent]: the daemon itself."""

    state_dir: Path = field(
        default=Path("/var/lib/reversald"),
        metadata=key.path("What must survive a power cut: journal, high-water mark, data key", IN_THIS_FILE),
    )
    run_dir: Path = field(
        default=Path("/run/reversald"),
        metadata=key.path("What need not survive: status files and socket", IN_THIS_FILE),
    )
    socket: Path = field(
        default=Path("agent.sock"),
        metadata=key.path("Unix socket of the API (at most 107 bytes long)", IN_RUN_DIR),
    )
    socket_group: str = field(
        default="",
        metadata=key.text(
            "Group whose members may use the API; empty: the daemon's own group",
            r"(?:[a-z_][a-z0-9_-]{0,31})?",
            "a group name or empty",
        ),
    )
    socket_connections: int = field(
        default=32,
        metadata=key.integer("API connections at the same time; more are refused with A-BUSY", 1, 1024),
    )
    language: Literal["en", "zh"] = field(
        default="en", metadata=key.choice("Language of status.txt, slips and command line", "en", "zh")
    )
    log_level: Literal["debug", "info", "warning", "error"] = field(
        default="info",
        metadata=key.choice("Least important log line that is written", "debug", "info", "warning", "error"),
    )
    status_every_s: float = field(
        default=5.0,
        metadata=key.number(
            "Status files are written at each change, and at least this often as a sign of life", 1, 300, "s"
        ),
    )
    page_every_s: float = field(
        default=5.0,
        metadata=key.number("status.html is written this often; 0: there is none (a restart changes it)", 0, 300, "s"),
    )


@dataclass(frozen=True, kw_only=True)
class Journal:
    """[journal]: the durable store."""

    path: Path = field(
        default=Path("journal.db"), metadata=key.path("The database; keep it on a local file system", IN_STATE_DIR)
    )
    highwater: Path = field(
        default=Path("highwater"),
        metadata=key.path(
            "The highest sequence number, kept outside the database so that a lost tail is noticed", IN_STATE_DIR
        ),
    )
    presize_bytes: int = field(
        default=4 << 20,
        metadata=key.integer(
            "Room taken at start, so that a full disk cannot stop an acknowledgement", 0, TEBIBYTE, "bytes"
        ),
    )
    reserve_bytes: int = field(
        default=16 << 20,
        metadata=key.integer(
            "New sales are refused when less than this is free on the disk", 1 << 20, TEBIBYTE, "bytes"
        ),
    )
    mirror: Path | None = field(
        default=None,
        metadata=key.path(
            "A second copy of what is pending, on another medium; two files grow beside it", IN_STATE_DIR
        ),
    )
    archive_after_days: int = field(
        default=0,
        metadata=key.integer(
            "What ended so long ago moves into the archive beside the journal, in quiet moments; 0: never by itself",
            0,
            3650,
            "days",
        ),
    )


@dataclass(frozen=True, kw_only=True)
class Wrapping:
    """[[keys.wrapping]]: a source that the data keys may be wrapped under. One of key_file, credential and program.

    The first one wraps what is written from now on; the others only open what they wrapped before.
    """

    key_file: Path | None = field(
        default=None,
        metadata=key.path("A file with the wrapping key, on another medium; mode 0600 or stricter", IN_STATE_DIR),
    )
    credential: str = field(
        default="",
        metadata=key.text(
            "Name of the systemd credential that is the wrapping key",
            r"(?!\.)[A-Za-z0-9._-]{1,200}|",
            "letters, digits, ., _ and -, as in the unit's LoadCredential",
        ),
    )
    program: tuple[str, ...] = field(
        default=(),
        metadata=key.texts(
            "Absolute path and arguments of a program that asks a secure element (docs/security.md); no shell",
            r"[^\x00-\x1f]{1,255}",
            "one argument",
        ),
    )
    timeout_s: float = field(
        default=5.0, metadata=key.number("Longest time for one run of the program; then it is killed", 0.1, 30, "s")
    )


@dataclass(frozen=True, kw_only=True)
class Keys:
    """[keys]: what seals card data in the journal."""

    data_key_file: Path = field(
        default=Path("data.key"),
        metadata=key.path(
            "The data key; mode 0600 or stricter. Made at the first start where it does not exist", IN_STATE_DIR
        ),
    )
    wrappings: tuple[Wrapping, ...] = field(
        default=(), metadata=key.tables("What the data keys are wrapped under; none: they are in clear", Wrapping)
    )


@dataclass(frozen=True, kw_only=True)
class PendingLimits:
    """New sales are allowed while every limit that is given holds for the lane's pending reversals."""

    count: int | None = field(default=None, metadata=key.integer("Most reversals that may be pending", 1, 1000))
    amount_minor: int | None = field(
        default=None,
        metadata=key.integer("Largest sum of their amounts", 1, 10**12, "minor units of the lane's currency"),
    )
    age_s: float | None = field(default=None, metadata=key.number("Age of the oldest", 1, 365 * DAY_S, "s"))


@dataclass(frozen=True, kw_only=True)
class Policy:
    """[policy]: decisions that the shop makes, not the program."""

    confirm: Literal["on-approval", "by-application"] = field(
        default="on-approval",
        metadata=key.choice(
            "When an approved sale is complete: at once, or when the application says so",
            "on-approval",
            "by-application",
        ),
    )
    confirm_timeout_s: float = field(
        default=120.0,
        metadata=key.number(
            'With confirm = "by-application": nobody_knows decides about an approval that nobody confirmed for so long',
            5,
            DAY_S,
            "s",
        ),
    )
    nobody_knows: Literal["reverse", "complete", "park"] = field(
        default="reverse",
        metadata=key.choice(
            "An approved sale of which neither application nor device can tell whether the goods were handed over",
            "reverse",
            "complete",
            "park",
        ),
    )
    while_pending: Literal["block", "warn"] | PendingLimits = field(
        default="block",
        metadata=key.choice_or_table(
            "Whether a lane may start a sale while reversals are pending: no, yes with a warning, or up to limits",
            PendingLimits,
            "block",
            "warn",
        ),
    )
    settle: Literal["two-persons", "one-person"] = field(
        default="two-persons",
        metadata=key.choice(
            "Whether closing an item by hand (settle) needs a second person, or the bank's code, to confirm it",
            "two-persons",
            "one-person",
        ),
    )
    settle_bank_key_file: Path | None = field(
        default=None,
        metadata=key.path(
            "File with the key that checks the bank's code for a settle, in hexadecimal; mode 0600 or stricter",
            IN_THIS_FILE,
        ),
    )


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


# Of drivers/catalogue.toml; a wrong one is refused when the devices are made.
MODEL = r"[A-Za-z0-9][A-Za-z0-9 ._/-]{0,31}|"


@dataclass(frozen=True, kw_only=True)
class DeviceConfig:
    """[[device]]: one reader, PIN pad or printer."""

    name: str = field(metadata=key.text("Its name here and in status and logs", NAME, NAME_SHAPE))
    kind: Literal["reader", "pinpad", "printer"] = field(
        metadata=key.choice("What it is", "reader", "pinpad", "printer")
    )
    driver: Literal["ccid-serial", "ccid-usb", "neo2", "ipp", "escpos"] = field(
        metadata=key.choice("Which driver speaks to it", "ccid-serial", "ccid-usb", "neo2", "ipp", "escpos")
    )
    port: str = field(metadata=key.text("Where it is", PORT, PORT_SHAPE))
    columns: int = field(
        default=32, metadata=key.integer("Printers: characters on a line (32 on 58 mm paper, 48 on 80 mm)", 16, 96)
    )
    model: str = field(
        default="",
        metadata=key.text("Printers and PIN pads: the model, see docs/devices.md", MODEL, 'a name such as "TM-T88III"'),
    )


@dataclass(frozen=True, kw_only=True)
class Checkout:
    """[checkout]: the sale that the agent itself drives through reader, PIN pad and printer."""

    reader: str = field(metadata=key.text("Name of the card reader", NAME, "the name of a [[device]]"))
    pinpad: str = field(
        default="",
        metadata=key.text("Name of the PIN pad; empty: no PIN is asked for", NO_NAME_OR, "the name of a [[device]]"),
    )
    printer: str = field(
        default="",
        metadata=key.text(
            "Name of the receipt printer; empty: nothing is printed", NO_NAME_OR, "the name of a [[device]]"
        ),
    )
    language: Literal["", "en", "zh"] = field(
        default="", metadata=key.choice("Language of slips and prompts; empty: agent.language", "", "en", "zh")
    )
    merchant_name: str = field(
        default="", metadata=key.text("Printed at the head of a slip", r"[^\x00-\x1f]{0,64}", "up to 64 characters")
    )
    print: bool = field(default=True, metadata=key.flag("Print slips (needs a printer)"))
    header_lines: tuple[str, ...] = field(
        default=(),
        metadata=key.texts(
            "Lines under the merchant's name", r"[^\x00-\x1f]{0,96}", "one line of up to 96 characters", 0, 8
        ),
    )
    footer_lines: tuple[str, ...] = field(
        default=(),
        metadata=key.texts(
            "Lines at the foot of a slip", r"[^\x00-\x1f]{0,96}", "one line of up to 96 characters", 0, 8
        ),
    )
    card_timeout_s: float = field(default=60.0, metadata=key.number("Longest wait for a card", 5, 600, "s"))
    pin_timeout_s: float = field(default=60.0, metadata=key.number("Longest wait for a PIN", 10, 600, "s"))
    print_timeout_s: float = field(default=30.0, metadata=key.number("Longest wait for a slip", 1, 600, "s"))


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


@dataclass(frozen=True, kw_only=True)
class Rights:
    """[rights]: who may do what over the API, among those who may open the socket.

    root and the daemon's own user may do everything, so that nobody is locked out.
    """

    read: tuple[str, ...] = field(default=("*",), metadata=key.texts("Look: status, lists, stories", WHO, WHO_SHAPE))
    sell: tuple[str, ...] = field(
        default=("*",), metadata=key.texts("Sales: transaction.* except the looking ones", WHO, WHO_SHAPE)
    )
    act: tuple[str, ...] = field(
        default=("%reversald",),
        metadata=key.texts("Retry, hold, release, park, devices, reload", WHO, WHO_SHAPE),
    )
    settle: tuple[str, ...] = field(
        default=("%reversald-settle",),
        metadata=key.texts("Close an item by hand, change keys, copy the journal", WHO, WHO_SHAPE),
    )
    requests_per_s: float = field(
        default=500.0,
        metadata=key.number("Requests of one user; faster ones wait unread", 1, 100_000, "1/s"),
    )


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """The whole file."""

    agent: Agent = field(default=Agent(), metadata=key.table("The daemon itself", Agent))
    journal: Journal = field(default=Journal(), metadata=key.table("The durable store", Journal))
    keys: Keys = field(default=Keys(), metadata=key.table("What seals card data in the journal", Keys))
    policy: Policy = field(default=Policy(), metadata=key.table("Decisions that the shop makes", Policy))
    alerts: Alerts = field(default=Alerts(), metadata=key.table("What people are told, and how", Alerts))
    selftest: SelfTest = field(default=SelfTest(), metadata=key.table("Looking the machine over", SelfTest))
    plans: tuple[Plan, ...] = field(default=(), metadata=key.tables("Changes of the emergency plans", Plan))
    profiles_directories: tuple[Path, ...] = field(
        default=(),
        metadata=key.paths(
            "Directories with host profiles of your own, searched before the built-in ones", IN_THIS_FILE
        ),
    )
    checkout: Checkout | None = field(default=None, metadata=key.table("The agent's own checkout", Checkout))
    lanes: tuple[Lane, ...] = field(metadata=key.tables("The lanes, at least one", Lane))
    devices: tuple[DeviceConfig, ...] = field(
        default=(), metadata=key.tables("Readers, PIN pads and printers", DeviceConfig)
    )
    gateways: tuple[Gateway, ...] = field(
        default=(), metadata=key.tables("Gateways for applications that talk to the host themselves", Gateway)
    )
    rights: Rights = field(default=Rights(), metadata=key.table("Who may do what over the API", Rights))
    source: Path = field(default=Path())

    def lane(self, name: str) -> Lane | None:
        """The lane of that name."""
        return next((lane for lane in self.lanes if lane.name == name), None)

    def device(self, name: str) -> DeviceConfig | None:
        """The device of that name."""
        return next((device for device in self.devices if device.name == name), None)
