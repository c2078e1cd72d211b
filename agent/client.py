"""A client of the local API for Python programs: blocking, standard library only.

    with AgentClient() as agent:
        sale = agent.run(lane="till-1", reference="4711", amount_minor=1250, track2=track2)
        if sale["outcome"] == "approved":
            agent.complete("4711")

Rules not to break:
1. Nothing is sent again by itself. Whoever sees `OutcomeUnknownError` asks `status` with the same
   reference; `run` with the same reference is safe too, it never starts a second sale.
2. After a missed deadline the connection is closed: a late answer can never be taken for another's.
3. No error holds what was sent or received, apart from the daemon's own words.

One object belongs to one thread. docs/api.md explains the methods.
"""

from __future__ import annotations

import json
import socket
import time
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, TypedDict, cast

from protocol.errors import AgentError

DEFAULT_SOCKET = Path("/run/reversald/agent.sock")
# An answer that needs no host comes within milliseconds; a commit on a worn SD card takes seconds.
DEADLINE_S = 15.0
# A sale waits for the reversals before it, the host's longest reply time-out, and a card and a PIN
# at the agent's own checkout. Assumed to be over by then.
SALE_DEADLINE_S = 300.0
# Answers may be longer than requests (a list of thousands of items), but not without end.
ANSWER_BYTES_MAX = 32 << 20
_READ_BYTES = 1 << 16


class ApiError(AgentError):
    """The daemon refused; `code` and `hint` are its own, `number` is the JSON-RPC code."""

    code = "A-ERROR"

    def __init__(self, code: str, text: str, hint: str = "", number: int = 0) -> None:
        super().__init__(text, hint)
        self.code = code
        self.number = number


class UnreachableError(ApiError):
    """No connection to the daemon: nothing was asked, so nothing has happened."""


class OutcomeUnknownError(ApiError):
    """The connection ended, or the deadline passed, before the answer came: the request may have been carried out."""


class Sale(TypedDict):
    """How a transaction stands.

    `outcome`: unknown, approved, completed, declined, reversing, reversed, parked or settled.
    `card` is masked. Times are UTC, "" where there is none yet.
    """

    id: str
    reference: str
    lane: str
    kind: str
    state: str
    outcome: str
    amount_minor: int
    currency: str
    card: str
    stan: str
    batch: str
    terminal_id: str
    merchant_id: str
    response_code: str
    approval_code: str
    rrn: str
    cause: str
    begun_at_utc: str
    ended_at_utc: str
    text_en: str
    text_zh: str
    next_step_en: str
    next_step_zh: str


class Retried(TypedDict):
    """Ids of the items that are tried now."""

    retried: list[str]


class Reloaded(TypedDict):
    """The file that was read, and the lanes there are now."""

    reloaded: str
    lanes: list[str]


class DeviceTest(TypedDict):
    """`seen` where it passed; else `error` with `code`, `text` and `hint`, what to do. `device`: as in the list."""

    device: dict[str, Any]
    passed: bool
    seen: str
    error: dict[str, str] | None


# The items of operators and the status have their own page and schema (docs/status.md).
Item = dict[str, Any]


class AgentClient:
    """One connection, made at the first call. Usable as a context manager."""

    def __init__(self, path: Path | str = DEFAULT_SOCKET, deadline_s: float = DEADLINE_S) -> None:
        self.path = Path(path)
        self.deadline_s = deadline_s
        self._channel: socket.socket | None = None
        self._held = b""
        self._last_id = 0

    def __enter__(self) -> AgentClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the connection; the next call makes a new one."""
        if self._channel is not None:
            self._channel.close()
        self._channel, self._held = None, b""

    # --- sales ---------------------------------------------------------------------------------

    def run(
        self,
        reference: str,
        amount_minor: int,
        *,
        lane: str = "",
        kind: str = "sale",
        pan: str = "",
        expiry: str = "",
        track2: str = "",
        pos_entry_mode: str = "",
        card_sequence: str = "",
        pin_block: str = "",
        chip_data: str = "",
        operator: str = "",
        original: dict[str, str] | None = None,
        wait: bool = True,
        checkout: bool = False,
        deadline_s: float = SALE_DEADLINE_S,
    ) -> Sale:
        """A whole sale; with the same reference again it only tells how the first one stands.

        `wait=False` answers as soon as the intent is stored. `checkout=True`: the agent reads the card itself.
        """
        order = _without_blanks(locals())
        return cast(Sale, self.call("transaction.run", {**order, "wait": wait, "checkout": checkout}, deadline_s))

    def begin(
        self,
        reference: str,
        amount_minor: int,
        *,
        lane: str = "",
        kind: str = "sale",
        pan: str = "",
        expiry: str = "",
        track2: str = "",
        pos_entry_mode: str = "",
        card_sequence: str = "",
        pin_block: str = "",
        chip_data: str = "",
        operator: str = "",
        original: dict[str, str] | None = None,
        deadline_s: float | None = None,
    ) -> Sale:
        """Record the intent of an application that talks to the host itself; gives the STAN to use."""
        return cast(Sale, self.call("transaction.begin", _without_blanks(locals()), deadline_s))

    def reply(
        self,
        reference: str,
        *,
        lane: str = "",
        message_hex: str = "",
        response_code: str = "",
        approval_code: str = "",
        rrn: str = "",
        mac: str = "",
        deadline_s: float | None = None,
    ) -> Sale:
        """Report the host's answer: the whole message from its MTI on, or its facts.

        `mac` is what your own check of it gave: valid, invalid or unchecked.
        """
        return cast(Sale, self.call("transaction.reply", _without_blanks(locals()), deadline_s))

    def complete(self, reference: str, *, lane: str = "", deadline_s: float | None = None) -> Sale:
        """The goods are handed over: the sale stands."""
        return cast(Sale, self.call("transaction.complete", _without_blanks(locals()), deadline_s))

    def reverse(
        self, reference: str, *, lane: str = "", reason: str = "", chip_data: str = "", deadline_s: float | None = None
    ) -> Sale:
        """The sale did not happen: the customer gets the money back. Returns before the host has confirmed."""
        return cast(Sale, self.call("transaction.reverse", _without_blanks(locals()), deadline_s))

    def status(self, reference: str, *, lane: str = "", deadline_s: float | None = None) -> Sale:
        """How the sale of that reference stands, also days later. ApiError A-NO-REFERENCE: never recorded."""
        return cast(Sale, self.call("transaction.status", _without_blanks(locals()), deadline_s))

    def unconfirmed(self, *, lane: str = "", deadline_s: float | None = None) -> list[Sale]:
        """The sales of which the agent does not know whether the goods were handed over: answer each."""
        answer = self.call("transaction.unconfirmed", _without_blanks(locals()), deadline_s)
        return cast("list[Sale]", answer["transactions"])

    # --- operators -----------------------------------------------------------------------------

    def reversal_list(self, *, all: bool = False, limit: int = 200, deadline_s: float | None = None) -> Any:
        """Pending items, worst first; with `all` also the last finished ones."""
        return self.call("reversal.list", {"all": all, "limit": limit}, deadline_s)

    def reversal_show(self, id: str, *, deadline_s: float | None = None) -> Item:
        """One item with its diagnosis."""
        return cast(Item, self.call("reversal.show", {"id": id}, deadline_s))

    def reversal_why(self, id: str, *, deadline_s: float | None = None) -> Item:
        """One item's whole story, from the journal."""
        return cast(Item, self.call("reversal.why", {"id": id}, deadline_s))

    def reversal_retry(self, id: str = "", *, all: bool = False, deadline_s: float | None = None) -> Retried:
        """Try one item now, or all of them."""
        return cast(Retried, self.call("reversal.retry", {"all": True} if all else {"id": id}, deadline_s))

    def reversal_hold(self, id: str, why: str, *, deadline_s: float | None = None) -> Item:
        """Stop the tries of one item for the time being."""
        return cast(Item, self.call("reversal.hold", {"id": id, "why": why}, deadline_s))

    def reversal_release(self, id: str, *, deadline_s: float | None = None) -> Item:
        """Let a held item go on."""
        return cast(Item, self.call("reversal.release", {"id": id}, deadline_s))

    def reversal_park(self, id: str, why: str, *, deadline_s: float | None = None) -> Item:
        """Say that a person must act on this item."""
        return cast(Item, self.call("reversal.park", {"id": id, "why": why}, deadline_s))

    def reversal_settle(self, id: str, reason: str, bank_reference: str, *, deadline_s: float | None = None) -> Item:
        """Ask to close one item with the bank's evidence: `challenge` for a second person, or the closed item."""
        params = {"id": id, "reason": reason, "bank_reference": bank_reference}
        return cast(Item, self.call("reversal.settle", params, deadline_s))

    def reversal_confirm(
        self, id: str, code: str = "", *, bank_code: str = "", deadline_s: float | None = None
    ) -> Item:
        """The second word on closing one item: the challenge's code, or the bank's answer to it."""
        params = {"id": id, **({"bank_code": bank_code} if bank_code else {"code": code})}
        return cast(Item, self.call("reversal.confirm", params, deadline_s))

    def journal_export(self, target: str, *, deadline_s: float | None = None) -> Item:
        """A consistent copy of the journal in the new file `target` (absolute path); card data stays sealed."""
        return cast(Item, self.call("journal.export", {"target": target}, deadline_s))

    def journal_archive(self, older_than_days: int, *, deadline_s: float | None = None) -> Item:
        """Moves some of what ended so long ago into the archive; call again while `more` is true."""
        return cast(Item, self.call("journal.archive", {"older_than_days": older_than_days}, deadline_s))

    def agent_status(self, *, deadline_s: float | None = None) -> Item:
        """The status file's content, fresh."""
        return cast(Item, self.call("agent.status", {}, deadline_s))

    def device_list(self, *, deadline_s: float | None = None) -> list[Item]:
        """Every device: state, firmware, counters, last error, and who has taken it out of service."""
        return cast(list[Item], self.call("device.list", {}, deadline_s)["devices"])

    def device_test(self, name: str, *, deadline_s: float | None = None) -> DeviceTest:
        """Exercise one device, by its name or its kind, without a customer: passed, or what to do."""
        return cast(DeviceTest, self.call("device.test", {"name": name}, deadline_s))

    def device_inhibit(self, name: str, why: str, *, deadline_s: float | None = None) -> Item:
        """Take one device out of service until its release, restarts included."""
        return cast(Item, self.call("device.inhibit", {"name": name, "why": why}, deadline_s))

    def device_release(self, name: str, *, deadline_s: float | None = None) -> Item:
        """Put it back into service."""
        return cast(Item, self.call("device.release", {"name": name}, deadline_s))

    def agent_reload(self, *, deadline_s: float | None = None) -> Reloaded:
        """Read the configuration file again; ApiError where it is wrong or unsafe, and then all stays as it was."""
        return cast(Reloaded, self.call("agent.reload", {}, deadline_s or SALE_DEADLINE_S))

    # --- one call ------------------------------------------------------------------------------

    def call(self, method: str, params: dict[str, Any], deadline_s: float | None = None) -> Any:
        """The result of any method. Raises ApiError, UnreachableError, OutcomeUnknownError."""
        end = time.monotonic() + (self.deadline_s if deadline_s is None else deadline_s)
        channel = self._connected(end)
        self._last_id += 1
        request = {"jsonrpc": "2.0", "id": self._last_id, "method": method, "params": params}
        try:
            channel.settimeout(_left(end))
            channel.sendall(json.dumps(request, ensure_ascii=False).encode() + b"\n")
            line = self._line(channel, end)
        except TimeoutError:
            self._give_up("A-DEADLINE", "the daemon did not answer in time")
        except OSError:
            self._give_up("A-LOST", "the daemon ended the connection before it answered")
        return self._result(line)

    def _connected(self, end: float) -> socket.socket:
        if self._channel is None:
            channel = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                channel.settimeout(_left(end))
                channel.connect(str(self.path))
            except OSError as error:
                channel.close()
                raise self._unreachable(error) from None
            self._channel = channel
        return self._channel

    def _unreachable(self, error: OSError) -> UnreachableError:
        if isinstance(error, PermissionError):
            text = f"this user may not use {self.path}"
            return UnreachableError("A-NOT-ALLOWED", text, "join the group that agent.socket_group names, log in again")
        if isinstance(error, FileNotFoundError | ConnectionRefusedError):
            text = f"the daemon is not running: nobody listens on {self.path}"
            hint = "systemctl start reversald, then journalctl -u reversald; nothing was sent"
            return UnreachableError("A-NOT-RUNNING", text, hint)
        text = f"no connection to {self.path}: {error.strerror or 'it takes too long'}"
        return UnreachableError("A-NOT-REACHED", text, "see journalctl -u reversald; nothing was sent")

    def _line(self, channel: socket.socket, end: float) -> bytes:
        """One line within the deadline. Raises OSError."""
        parts = [self._held]
        length = 0
        while b"\n" not in parts[-1]:
            channel.settimeout(_left(end))
            parts.append(channel.recv(_READ_BYTES))
            length += len(parts[-1])
            if not parts[-1] or length > ANSWER_BYTES_MAX:
                raise ConnectionResetError
        line, _, self._held = b"".join(parts).partition(b"\n")
        return line

    def _result(self, line: bytes) -> Any:
        try:
            answer = json.loads(line)
        except ValueError:
            answer = None
        if not isinstance(answer, dict) or answer.get("id") not in (self._last_id, None):
            self._give_up("A-STRANGE", f"what listens on {self.path} does not speak this interface")
        error = answer.get("error")
        if isinstance(error, dict):
            raise self._refusal(answer["id"], error)
        if "result" not in answer or answer.get("id") is None:
            self._give_up("A-STRANGE", f"what listens on {self.path} does not speak this interface")
        return answer["result"]

    def _refusal(self, answered_id: Any, error: dict[str, Any]) -> ApiError:
        data = error.get("data")
        told = data if isinstance(data, dict) else {}
        code, hint = str(told.get("code", ApiError.code)), str(told.get("hint", ""))
        if answered_id is None:  # about the connection, which ends now
            self.close()
        kind = OutcomeUnknownError if code in ("A-INTERNAL", "A-ENDING") else ApiError
        return kind(code, str(error.get("message", "")), hint, int(error.get("code", 0)))

    def _give_up(self, code: str, text: str) -> NoReturn:
        self.close()
        raise OutcomeUnknownError(code, text, "it may have been carried out: ask status with the same reference")


def _left(end: float) -> float:
    """Seconds until `end`. Raises TimeoutError: a socket's time-out of 0 would mean something else."""
    seconds = end - time.monotonic()
    if seconds <= 0:
        raise TimeoutError
    return seconds


_NOT_PARAMETERS = ("self", "deadline_s", "wait", "checkout")


def _without_blanks(arguments: dict[str, Any]) -> dict[str, Any]:
    """What was given: the daemon knows the defaults."""
    return {name: value for name, value in arguments.items() if name not in _NOT_PARAMETERS and value not in ("", None)}
