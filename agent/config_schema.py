"""The configuration as the program sees it: one frozen dataclass a section of the file.

Lanes stand in agent/config_lane.py, devices in agent/config_devices.py, alerts and plans in
agent/config_watch.py; here is the rest, and the whole.

A field's metadata is its key (`agent/config_keys.py`): type, unit, range and meaning. Its default
stands in the dataclass; no default means that the key must be given. docs/configuration.md is
compared with these dataclasses by a test.

After `agent.config.load` every path is absolute. A configuration built by hand must be so too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import Literal

from agent import config_keys as key
from agent.config_devices import Checkout, DeviceConfig
from agent.config_lane import Gateway, Lane
from agent.config_shapes import DAY_S, IN_RUN_DIR, IN_STATE_DIR, IN_THIS_FILE, TEBIBYTE
from agent.config_watch import Alerts, Plan, SelfTest
from protocol.frozen import dataclass

# A user, a group with "%" as in sudoers(5), or everybody who may open the socket.
WHO = r"\*|%?[a-z_][a-z0-9_-]{0,31}"
WHO_SHAPE = 'a user, a group such as "%pos", or "*" for all who may open the socket'


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


# For one run of a program that wraps or unwraps.
PROGRAM_S_MAX = 30


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
        default=5.0,
        metadata=key.number("Longest time for one run of the program; then it is killed", 0.1, PROGRAM_S_MAX, "s"),
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
    # Of the key files of lanes as they were read, by lane and name of the key: a file may change under its name.
    key_prints: Mapping[tuple[str, str], bytes] = field(default_factory=dict, repr=False)

    def lane(self, name: str) -> Lane | None:
        """The lane of that name."""
        return next((lane for lane in self.lanes if lane.name == name), None)

    def device(self, name: str) -> DeviceConfig | None:
        """The device of that name."""
        return next((device for device in self.devices if device.name == name), None)
