"""Why one transaction stands where it stands, what that means in money, and who does what next.

`diagnose` is pure. It asks the questions of `_QUESTIONS` in their order; the first that has an answer gives the
code. Words come from the catalogue (`texts.toml`), so a code means the same in status, command and documents.

Rules not to break:
1. Codes are compared as a whole: an error text begins with its own stable code ("E-LINK-DNS: ..."), and only that
   beginning is read, never words inside a sentence.
2. What is not known is not claimed: the confidence says so.
3. A person is sent only where a person can do something: a young failure that may pass by itself is nobody's job.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Literal

from agent.currency import money
from agent.money_effect import effect_of
from agent.records import OWED, State, Transaction
from agent.said import coded
from agent.said import said as in_words
from agent.texts import Catalogue, CauseClass, Text, Who, catalogue, duration
from protocol.frozen import dataclass
from protocol.masking import scrub
from protocol.rules import ResponseRules

Confidence = Literal["certain", "likely", "possible"]
DeviceState = Literal["opening", "ready", "busy", "gone", "inhibited", "closed"]

# The diagnosis that belongs to an error's stable code (agent/linkstate.py, agent/macs.py, protocol/errors.py).
BY_ERROR: dict[str, str] = {
    "E-LINK-REFUSED": "D-CONN-REFUSED",
    "E-LINK-CONNECT-TIMEOUT": "D-LINK-DOWN",
    "E-LINK-UNREACHABLE": "D-LINK-DOWN",
    "E-LINK-DNS": "D-DNS",
    "E-LINK-TLS": "D-TLS",
    "E-TLS": "D-TLS",
    "E-LINK-TIMEOUT": "D-NO-REPLY",
    "E-LINK-SEND-TIMEOUT": "D-NO-REPLY",
    "E-LINK-RESET": "D-LINE-CUT",
    "E-LINK-EOF": "D-LINE-CUT",
    "E-LINK-GARBAGE": "D-GARBAGE",
    "E-LINK-CLOSED": "D-RESTART",
    "E-LINK-CONFIGURATION": "D-SETTINGS",
    "E-MESSAGE": "D-SETTINGS",
    "E-PROFILE": "D-SETTINGS",
    "E-MAC": "D-SETTINGS",
    "E-MAC-DEVICE": "D-PAD-MISSING",
}

# What the engine itself writes when it does not believe an acknowledgement (agent/engine.py, attempt_answered).
BY_MAC_VERDICT: dict[str, str] = {
    "acknowledgement with MAC invalid": "D-MAC-BAD",
    "acknowledgement with MAC absent": "D-MAC-MISSING",
    "acknowledgement with MAC unverified": "D-PAD-MISSING",
}

# Response codes whose cause is known better than "the host refuses". Source: ISO 8583:1987 table of DE 39 for the
# numbers; A0, A7 and 78 to 99 as UnionPay terminals use them (protocol/profiles/response-codes.toml).
BY_RESPONSE_CODE: dict[str, str] = {
    "03": "D-DATA-MERCHANT",
    "58": "D-DATA-TERMINAL",
    "78": "D-DATA-TERMINAL",
    "89": "D-DATA-TERMINAL",
    "97": "D-DATA-TERMINAL",
    "14": "D-DATA-CARD",
    "15": "D-DATA-CARD",
    "56": "D-DATA-CARD",
    "33": "D-DATA-EXPIRY",
    "54": "D-DATA-EXPIRY",
    "13": "D-DATA-AMOUNT",
    "64": "D-DATA-AMOUNT",
    "30": "D-DATA-FORMAT",
    "77": "D-BATCH",
    "80": "D-BATCH",
    "87": "D-KEYS",
    "99": "D-KEYS",
    "A7": "D-KEYS",
    "90": "D-HOST-BUSY",
    "91": "D-HOST-BUSY",
    "92": "D-HOST-BUSY",
    "96": "D-HOST-BUSY",
    "98": "D-HOST-BUSY",
    "A0": "D-MAC-REFUSED",
}

# What the loop says of a reversal that it cannot make (agent/loop_turns.py, `_set_aside`): no person held it.
SET_ASIDE = "by agent: its reversal cannot be made"

_ENDED: dict[State, str] = {
    State.COMPLETED: "D-COMPLETED",
    State.DECLINED: "D-DECLINED",
    State.REVERSED: "D-DONE",
    State.SETTLED: "D-SETTLED",
}


@dataclass(frozen=True, slots=True)
class LinkFacts:
    """One lane's way to its hosts. `down_s`: how long it has been down, None while it is not."""

    state: Literal["up", "down", "unknown"]
    down_s: float | None = None
    error_code: str = ""
    error: str = ""


@dataclass(frozen=True, slots=True)
class DeviceFacts:
    """One device as status and diagnosis see it; states are those of drivers/device.py.

    `text`: its own words or its last error. `for_s`: how long it has been in this state.
    """

    name: str
    kind: str
    state: DeviceState
    text: str = ""
    for_s: float | None = None
    error_code: str = ""

    @property
    def usable(self) -> bool:
        """Ready, working, or on the way to it without an error so far."""
        return self.state in ("ready", "busy") or (self.state == "opening" and not self.error_code)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a diagnosis may know besides the record: the lane as it stands now.

    `responses` None: the lane or its profile is not configured any more. `mac_device` names the device that makes
    this lane's MAC ("" where none does). `store_full`: new sales are refused for want of room.
    """

    now_utc: datetime
    link: LinkFacts = LinkFacts("unknown")
    devices: tuple[DeviceFacts, ...] = ()
    mac_device: str = ""
    store_full: bool = False
    responses: ResponseRules | None = None
    terminal_id: str = ""
    merchant_id: str = ""
    park_after_attempts: int = 0


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """The answer. `beneath` is the code of the obstacle under a limit or a person's decision."""

    code: str
    cause_class: CauseClass
    confidence: Confidence
    evidence: tuple[Text, ...]
    who: Who
    cause: Text
    money: Text
    action: Text
    commands: tuple[str, ...]
    beneath: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """What one question found: a code, how sure it is, and which pieces of evidence show it."""

    code: str
    confidence: Confidence = "certain"
    shown: tuple[str, ...] = ()
    beneath: str = ""


def diagnose(txn: Transaction, surroundings: Surroundings) -> Diagnosis:
    """The one cause of this transaction's state, with evidence and the next action."""
    texts = catalogue()
    finding = _find(txn, surroundings)
    entry = texts.diagnoses[finding.code]
    values = _values(txn, surroundings, finding, texts)
    waits = _still_patient(txn, surroundings, entry.patience_s)
    return Diagnosis(
        code=entry.code,
        cause_class=entry.cause_class,
        confidence=finding.confidence,
        evidence=tuple(texts.evidence[name].fill(values) for name in _shown(txn, surroundings, finding)),
        who="nobody" if waits else entry.who,
        cause=entry.cause.fill(values),
        money=texts.money[_money_key(txn, surroundings, entry.money)].fill(values),
        action=(texts.wait if waits else entry.action).fill(values),
        commands=tuple(command.replace("{id}", txn.id) for command in entry.commands),
        beneath=finding.beneath,
    )


def age_s(since_utc: str, now_utc: datetime) -> float | None:
    """Seconds of wall time since then; None where the clock now stands before it, or it cannot be read."""
    try:
        began = datetime.fromisoformat(since_utc)
    except ValueError:
        return None
    seconds = (now_utc - (began if began.tzinfo else began.replace(tzinfo=UTC))).total_seconds()
    return seconds if seconds >= -1 else None  # a second: stamps of two readings of the same clock


def error_code(text: str) -> str:
    """The stable code with which an error's text begins ("E-LINK-DNS: ..."); "" where it begins with none."""
    head, separator, _ = text.partition(":")
    return head if separator and head.startswith("E-") else ""


# --- the questions, in their order -------------------------------------------------------------


def _find(txn: Transaction, surroundings: Surroundings) -> Finding:
    for question in _QUESTIONS:
        finding = question(txn, surroundings)
        if finding is not None:
            return finding
    raise AssertionError(f"no diagnosis for {txn.id} in state {txn.state}")


def _ended(txn: Transaction, surroundings: Surroundings) -> Finding | None:
    if txn.state in (State.DECLINED, State.REVERSED) and effect_of(txn.kind) in ("undoes", "gives"):
        return Finding("D-NOT-GIVEN-BACK")
    code = _ENDED.get(txn.state)
    return Finding(code) if code else None


def _open_sale(txn: Transaction, surroundings: Surroundings) -> Finding | None:
    """No reversal is owed yet: the answer or the confirmation is awaited."""
    if txn.state is State.APPROVED:
        return Finding("D-WAITS-CONFIRM")
    if txn.state in OWED:
        return None
    return Finding("D-WAITS-REPORT" if txn.driver == "application" else "D-IN-PROGRESS")


def _no_lane(txn: Transaction, surroundings: Surroundings) -> Finding | None:
    return Finding("D-NO-LANE") if surroundings.responses is None else None


def _held(txn: Transaction, surroundings: Surroundings) -> Finding | None:
    if not txn.held:
        return None
    if SET_ASIDE in _last_word(txn)[1]:
        return Finding("D-NOT-MADE", shown=("said",))
    return Finding("D-HELD", shown=("said",), beneath=_obstacle(txn, surroundings).code)


def _no_reversal(txn: Transaction, surroundings: Surroundings) -> Finding | None:
    if txn.on_unknown == "reverse" or txn.frozen is not None:
        return None
    return Finding("D-NO-REVERSAL")


def _parked(txn: Transaction, surroundings: Surroundings) -> Finding | None:
    """Why a person is needed: a person's word, a refusal, the limit, or nobody's confirmation."""
    if txn.state is not State.PARKED:
        return None
    beneath = _obstacle(txn, surroundings)
    if any(piece.what.startswith("parked by ") for piece in txn.evidence):
        return Finding("D-PARKED", shown=("said",), beneath=beneath.code)
    if beneath.code == "D-HOST-REFUSED" or beneath.code.startswith("D-DATA-"):
        return beneath
    limit = surroundings.park_after_attempts
    if limit and txn.tries_that_left >= limit:
        return Finding("D-LIMIT", shown=("tries", "limit", *beneath.shown), beneath=beneath.code)
    if txn.undecided or txn.cause == "not-confirmed":
        return Finding("D-NOT-CONFIRMED")
    return None


def _obstacle(txn: Transaction, surroundings: Surroundings) -> Finding:
    """What stood in the way of the last try; the first of these that is known."""
    for question in (_answered, _failed, _device_missing, _link_down, _no_room):
        finding = question(txn, surroundings)
        if finding is not None:
            return finding
    return Finding("D-RESTART" if txn.cause == "restart" else "D-TRYING")


def _answered(txn: Transaction, surroundings: Surroundings) -> Finding | None:
    """The host answered the last try with a code that did not end it."""
    code = txn.last_code
    if not code or surroundings.responses is None:
        return None
    verdict = surroundings.responses.reversal(code)
    if verdict == "overtaken":
        return Finding("D-OVERTAKEN", "likely", ("code",))
    special = BY_RESPONSE_CODE.get(code)
    if special is not None:
        return Finding(special, "likely", ("code", *_changed_numbers(txn, surroundings)))
    return Finding("D-HOST-REFUSED" if verdict == "park" else "D-HOST-CODE", "certain", ("code",))


def _failed(txn: Transaction, surroundings: Surroundings) -> Finding | None:
    """The last try, or the sale before any try, ended with an error."""
    if not txn.attempts or not txn.last_error:
        return None
    code = BY_MAC_VERDICT.get(txn.last_error) or BY_ERROR.get(error_code(txn.last_error))
    if code == "D-PAD-MISSING":
        return Finding(code, "certain", ("error", "device"))
    if code is not None:
        return Finding(code, "certain", ("error", "unbelieved", "tries"))
    if txn.tries_that_left:
        return Finding("D-NO-REPLY", "possible", ("error", "tries"))
    return Finding("D-LINK-DOWN", "possible", ("error", "tries"))


def _device_missing(txn: Transaction, surroundings: Surroundings) -> Finding | None:
    device = _mac_device(surroundings)
    if device is None or device.usable:
        return None
    return Finding("D-PAD-MISSING", "likely", ("device",))


def _link_down(txn: Transaction, surroundings: Surroundings) -> Finding | None:
    if surroundings.link.state != "down":
        return None
    return Finding(BY_ERROR.get(surroundings.link.error_code, "D-LINK-DOWN"), "likely", ("link-down", "link-error"))


def _no_room(txn: Transaction, surroundings: Surroundings) -> Finding | None:
    return Finding("D-STORE-FULL", "possible") if surroundings.store_full else None


_QUESTIONS: tuple[Callable[[Transaction, Surroundings], Finding | None], ...] = (
    _ended,
    _open_sale,
    _no_lane,
    _no_reversal,
    _held,
    _parked,
    _obstacle,
)


# --- what the texts are filled with ------------------------------------------------------------


def _shown(txn: Transaction, surroundings: Surroundings, finding: Finding) -> Sequence[str]:
    """The pieces of evidence that exist, without doubles."""
    wanted = list(finding.shown)
    if finding.beneath:
        wanted.append("beneath")
    if surroundings.link.state == "down" and txn.state in OWED:
        wanted.append("link-down")
    if age_s(txn.begun_at_utc, surroundings.now_utc) is None:
        wanted.append("clock")
    unknown = {
        "device": _mac_device(surroundings) is None,
        "said": not _last_word(txn)[1],
        "unbelieved": not _unbelieved(txn, surroundings).en,
        "link-error": not surroundings.link.error,
    }
    return [name for name in dict.fromkeys(wanted) if not unknown.get(name)]


def _values(txn: Transaction, surroundings: Surroundings, finding: Finding, texts: Catalogue) -> dict[str, str | Text]:
    device = _mac_device(surroundings)
    said = _last_word(txn)
    beneath = texts.diagnoses[finding.beneath].symptom if finding.beneath else ""
    return {
        "id": txn.id,
        "kind": texts.word("kind", txn.kind),
        "amount": money(txn.amount_minor, txn.currency),
        "card": txn.masked_pan,
        "stan": txn.stan,
        "batch": txn.batch,
        "terminal": txn.terminal_id,
        "merchant": txn.merchant_id,
        "lane": txn.lane,
        "host": txn.host,
        "code": txn.last_code,
        "code_text": response_text(surroundings.responses, txn.last_code),
        "acknowledged": txn.acknowledged_with,
        "tries": str(txn.attempts),
        "tries_left": str(txn.tries_that_left),
        "unbelieved": _unbelieved(txn, surroundings),
        "limit": str(surroundings.park_after_attempts),
        "when": txn.last_try_utc,
        "error": error_text(txn.last_error),
        "link_error": error_text(coded(surroundings.link.error_code, surroundings.link.error)),
        "down": duration(surroundings.link.down_s),
        "device": device.name if device else surroundings.mac_device,
        "device_state": texts.word("device_state", device.state) if device else "",
        "device_text": in_words(coded(device.error_code, device.text)) if device else "",
        "said": in_words(said[1]),
        "said_at": said[0],
        "beneath": beneath,
        "lane_terminal": surroundings.terminal_id,
        "lane_merchant": surroundings.merchant_id,
        "closed_by": txn.closing.by if txn.closing else "",
        "closed_why": scrub(txn.closing.reason) if txn.closing else "",
        "bank_reference": txn.closing.bank_reference if txn.closing else "",
    }


def response_text(responses: ResponseRules | None, code: str) -> Text:
    """A response code in plain words; empty without a code or without its profile."""
    if responses is None or not code:
        return Text("", "")
    return Text(responses.text(code, "en"), responses.text(code, "zh"))


def error_text(error: str) -> Text:
    """An error for people: in Chinese what it means and its code."""
    return in_words(error)


# An answer as evidence of it is kept (agent/answers.py, `what`).
_WITH_CODE = re.compile(r"[0-9]{4} with response code (\w+)")


def _unbelieved(txn: Transaction, surroundings: Surroundings) -> Text:
    """What the answer said that the last try did not believe; empty where the last try ended otherwise."""
    kept = [piece.detail for piece in txn.evidence if piece.what == txn.last_error and piece.detail][-1:]
    if not kept:
        return Text("", "")
    found = _WITH_CODE.fullmatch(kept[0])
    meaning = response_text(surroundings.responses, found[1]) if found else Text("", "")
    told = in_words(kept[0])
    return told + Text(f" ({meaning.en})", f"（{meaning.zh}）") if meaning.en else told


def _last_word(txn: Transaction) -> tuple[str, str]:
    """When and what a person last said about this item; empty where nobody did."""
    for piece in reversed(txn.evidence):
        if piece.what.startswith(("held by ", "parked by ", "released by ")):
            return piece.at_utc, scrub(f"{piece.what}: {piece.detail}" if piece.detail else piece.what)
    return "", ""


def _changed_numbers(txn: Transaction, surroundings: Surroundings) -> tuple[str, ...]:
    """Which of the configured numbers differ from those in the stored message."""
    changed = []
    if surroundings.terminal_id and surroundings.terminal_id != txn.terminal_id:
        changed.append("terminal")
    if surroundings.merchant_id and surroundings.merchant_id != txn.merchant_id:
        changed.append("merchant")
    return tuple(changed)


def _mac_device(surroundings: Surroundings) -> DeviceFacts | None:
    return next((device for device in surroundings.devices if device.name == surroundings.mac_device), None)


def _still_patient(txn: Transaction, surroundings: Surroundings, patience_s: float) -> bool:
    """Whether the failure is so young that the agent alone may mend it (rule 3)."""
    if not patience_s or txn.state is State.PARKED or txn.held:
        return False
    age = age_s(txn.begun_at_utc, surroundings.now_utc)
    return age is not None and age < patience_s


def _money_key(txn: Transaction, surroundings: Surroundings, key: str) -> str:
    """An owed reversal of a sale that the host approved means that the customer is charged now.

    A kind that does something else than charge has texts of its own ("undoes-owed").
    """
    responses = surroundings.responses
    if key == "owed" and txn.response_code and responses is not None:
        key = "charged" if responses.request(txn.response_code) == "approved" else key
    special = f"{effect_of(txn.kind)}-{key}"
    return special if special in catalogue().money else key
