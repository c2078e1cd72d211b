"""Original request to reversal: frozen once as the exact bytes, rendered for each attempt by splicing slots.

Rules:
1. `freeze` is done before the first byte of the original leaves. What it gives is stored; nothing later changes it.
2. `render` needs no profile: an upgrade or a changed configuration cannot alter a stored reversal.
3. No track, PIN block or CVV is ever part of a frozen reversal; chip data only by the profile's tag list.
4. What `freeze` built has been unpacked again and found equal.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any, Literal, cast

from protocol.elements import EBCDIC, IDENTITY_FIELDS
from protocol.errors import MessageError
from protocol.frozen import dataclass
from protocol.iso8583 import Message
from protocol.mac import reserve
from protocol.matching import shown_in_identity
from protocol.mti import repeat_of
from protocol.rules import Kind, Profile
from protocol.tlv import pick_tags

SlotForm = Literal["bcd", "ascii", "ebcdic", "binary"]

_DESCRIPTION_VERSION = 1

_TRACKS = (35, 36, 45)
# In an identity even where they are slots: the type is that of the first sending, the STAN that of the freezing.
_ALWAYS = frozenset({"mti", "11"})


@dataclass(frozen=True, slots=True)
class Slot:
    """Bytes of a frozen reversal that may change with each attempt: `length` bytes at `offset`."""

    name: str
    offset: int
    length: int
    form: SlotForm


@dataclass(frozen=True, slots=True)
class Learnt:
    """What the original's reply told, if there was one. `date` MMDD, `time` hhmmss, `chip_data` hexadecimal,
    `acquirer` (element 32)."""

    approval_code: str = ""
    rrn: str = ""
    date: str = ""
    time: str = ""
    chip_data: str = field(default="", repr=False)
    acquirer: str = ""


@dataclass(frozen=True, slots=True, repr=False)
class FrozenReversal:
    """A reversal as it will be sent. `body` is secret (card number): the packed message, slots hold their default."""

    body: bytes
    slots: tuple[Slot, ...]
    mti: str
    repeat_mti: str
    identity: Mapping[str, str]

    def describe(self) -> dict[str, Any]:
        """Gives everything but the body: JSON-able, no card data."""
        return {
            "version": _DESCRIPTION_VERSION,
            "mti": self.mti,
            "repeat_mti": self.repeat_mti,
            "slots": [[slot.name, slot.offset, slot.length, slot.form] for slot in self.slots],
            "identity": dict(self.identity),
        }

    @staticmethod
    def restore(description: Mapping[str, Any], body: bytes) -> FrozenReversal:
        """Undoes `describe`. Raises MessageError when description and body do not belong together."""
        if description.get("version") != _DESCRIPTION_VERSION:
            raise MessageError("this description of a reversal is of another version")
        slots = tuple(Slot(*row) for row in description["slots"])
        if any(slot.offset < 0 or slot.offset + slot.length > len(body) for slot in slots):
            raise MessageError("the description of this reversal does not fit its body")
        return FrozenReversal(body, slots, description["mti"], description["repeat_mti"], dict(description["identity"]))

    def __repr__(self) -> str:
        return f"FrozenReversal({self.mti}, {len(self.body)} bytes, identity {dict(self.identity)})"


def kind_of(request: Message, profile: Profile) -> Kind:
    """Gives the kind of transaction that a request is. Raises MessageError when the profile knows none like it."""
    at = profile.request.type_at
    wanted = at.of(request.get(at.field)) if at else ""
    for kind in profile.kinds.values():
        if kind.mti != request.mti or kind.processing_code != request.get(3):
            continue
        if at and wanted and kind.transaction_type:
            if kind.transaction_type == wanted:
                return kind
        elif kind.point_of_service_condition in ("", request.get(25, kind.point_of_service_condition)):
            return kind
    raise MessageError("the profile knows no kind of transaction like this request", field=3)


def reason_code(profile: Profile, reason: str) -> str:
    """Gives the code that the host is told: "timeout" → "98" at UnionPay. Raises MessageError for an unknown reason."""
    code = profile.reversal.reasons.get(reason)
    if code is None:
        raise MessageError(f"no reason for a reversal is called {reason!r}", field=profile.reversal.reason_field)
    return code


def reason_of_try(frozen: FrozenReversal, profile: Profile, reason: str, *, refused: bool) -> str:
    """Gives the code that the next try tells; "" where the stored message keeps its own.

    `refused`: the host answered the last try and did not take it; the profile may want to say so.
    A code that does not fit the stored message (the profile was changed since) never keeps a reversal from leaving.
    """
    rules = profile.reversal
    code = rules.reason_after_refusal if refused and rules.reason_after_refusal else rules.reasons.get(reason, "")
    for slot in frozen.slots:
        if slot.name == "reason" and code:
            try:
                _spliced(slot, code)
            except MessageError:
                return ""
    return code


def identity_of(request: Message) -> dict[str, str]:
    """Gives what an answer is compared with: MTI and elements by number, none of them secret."""
    identity = {"mti": request.mti}
    if pan := request.get(2):
        identity["2"] = shown_in_identity(2, pan)
    for number in IDENTITY_FIELDS:
        if value := request.get(number):
            identity[str(number)] = shown_in_identity(number, value)
    return identity


def freeze(
    request: Message,
    profile: Profile,
    reason: str,
    learnt: Learnt = Learnt(),
    own_stan: str = "",
    stands_minor: int | None = None,
) -> FrozenReversal:
    """Gives the reversal of a request. `own_stan` is for profiles whose reversals have a number of their own.

    `stands_minor`: for a partial reversal, the amount that stands (element 95); None reverses everything.

    Raises MessageError when the profile does not reverse such a request or something needed is missing.
    """
    profile.codec.pack(request)  # what is no message cannot have left either
    kind = kind_of(request, profile)
    if kind.on_unknown == "none":
        raise MessageError(f"a {kind.name} is not reversed in this profile", field=0)
    mti = profile.reversal.types.get(request.mti)
    if mti is None:
        raise MessageError("the profile reverses no message of this type", field=0)
    values = _values(request, profile, kind, learnt, reason_code(profile, reason), own_stan)
    if stands_minor is not None:
        values[profile.reversal.partial_field] = _replacement(profile, request, stands_minor)
    _refuse_tracks(request, values)
    return _frozen(profile, reserve(profile, Message(mti, values)))


def learn(frozen: FrozenReversal, profile: Profile, kind: str, learnt: Learnt) -> FrozenReversal:
    """Gives the reversal with what the answer to the original adds: approval code, date, chip data.

    Only before a byte of the reversal left: afterwards it never changes. `kind` is the transaction's kind by name.
    Raises MessageError when the result cannot be packed.
    """
    rules = profile.reversal
    message = profile.codec.unpack(frozen.body)
    facts = {f"f{number}": value for number, value in message.fields.items()}
    facts |= {"transaction_type": profile.kinds[kind].transaction_type} | _learnt_facts(learnt)
    changes: dict[int, str | None] = {}
    for number, template in {**rules.templates, **profile.kinds[kind].reversal_templates}.items():
        if any(name.startswith("learnt_") for name in template.names):
            changes[number] = template.fill(facts)
    if chip := pick_tags(learnt.chip_data, rules.chip_tags):
        changes[rules.chip_field] = chip
    return _frozen(profile, reserve(profile, message.with_fields(changes)))


def _learnt_facts(learnt: Learnt) -> dict[str, str]:
    """Gives what was learnt under the names that templates use."""
    return {
        "learnt_approval_code": learnt.approval_code,
        "learnt_rrn": learnt.rrn,
        "learnt_date": learnt.date,
        "learnt_time": learnt.time,
    }


def _frozen(profile: Profile, message: Message) -> FrozenReversal:
    """Gives the message as exact bytes with its slots; what a try may change is no part of its identity."""
    body = profile.codec.pack(message)
    unpacked, places = profile.codec.unpack_and_locate(body)
    if unpacked != message:
        raise MessageError("the reversal does not unpack to itself")
    slots = _slots(profile, message, places)
    changing = {slot.name for slot in slots} | {str(profile.reversal.reason_field)}
    return FrozenReversal(
        body=body,
        slots=slots,
        mti=message.mti,
        repeat_mti=repeat_of(message.mti) if profile.reversal.repeats else message.mti,
        identity={key: value for key, value in identity_of(message).items() if key in _ALWAYS or key not in changing},
    )


def _values(
    request: Message, profile: Profile, kind: Kind, learnt: Learnt, reason: str, own_stan: str
) -> dict[int, str]:
    """Gives the elements of the reversal: the kept ones, then those that the profile makes, then STAN and chip data."""
    rules = profile.reversal
    values = {number: request.fields[number] for number in rules.keep if number in request.fields}
    if 2 in rules.keep and 2 not in values and request.get(35):
        values[2] = request.get(35).partition("=")[0]
    if rules.stan == "own":
        if not own_stan:
            raise MessageError("the profile wants a number of its own for the reversal", field=11)
        values[11] = own_stan
    if chip := pick_tags(learnt.chip_data or request.get(rules.chip_field), rules.chip_tags):
        values[rules.chip_field] = chip
    facts = {f"f{number}": value for number, value in request.fields.items()}
    facts |= {
        "mti": request.mti,
        "reason": reason,
        "own_stan": own_stan,
        "transaction_type": kind.transaction_type,
        **_learnt_facts(learnt),
    }
    for number, template in {**rules.templates, **kind.reversal_templates}.items():
        if value := template.fill(facts):
            values[number] = value
    if rules.reason_field:
        values[rules.reason_field] = reason
    return values


def _replacement(profile: Profile, request: Message, stands_minor: int) -> str:
    """Gives element 95: amount that stands, its settlement amount, two fees, all but the first zero. NIBSS DE 95."""
    if not profile.reversal.partial_field:
        raise MessageError("the profile has no partial reversal")
    if not 0 < stands_minor < int(request.get(4, "0")):
        raise MessageError("the amount that stands must be less than the amount", field=4)
    return f"{stands_minor:012d}{0:012d}D{0:08d}D{0:08d}"


def _refuse_tracks(request: Message, values: Mapping[int, str]) -> None:
    """Raises MessageError when track data of the request has found a way into the reversal."""
    for number in _TRACKS:
        track = request.get(number)
        if track and any(track in value or track.replace("=", "D") in value for value in values.values()):
            raise MessageError("track data would be stored in the reversal", field=number)


def _slots(profile: Profile, message: Message, places: Mapping[int, tuple[int, int]]) -> tuple[Slot, ...]:
    """Gives those of the places that `render` may fill, in the order of the bytes."""
    rules, codec = profile.reversal, profile.codec
    names = {
        rules.reason_field: "reason",
        rules.stamp_field: "7",
        rules.local_time_field: "12",
        rules.local_date_field: "13",
        max(message.fields) if max(message.fields) in (64, 128) else 0: "mac",
    }
    if rules.stan_each_try:
        names[11] = "11"
    slots = [Slot("mti", *places[0], form=cast(SlotForm, codec.mti_coding))]
    for number in sorted(names):
        if number in message.fields:
            coding = codec.packings[number].coding
            form = "ascii" if coding in ("ascii", "hex") else coding
            slots.append(Slot(names[number], *places[number], form=cast(SlotForm, form)))
    return tuple(slots)


def render(
    frozen: FrozenReversal,
    *,
    repeat: bool,
    reason_code: str | None = None,
    stamp: str = "",
    stan: str = "",
    local: str = "",
) -> bytes:
    """Gives the bytes of one attempt, the MAC slot still zero.

    `stamp` "MMDDhhmmss" (UTC) is for element 7, `local` "MMDDhhmmss" for elements 12 and 13, `stan` for element 11;
    each is ignored where the reversal has no such slot. Raises MessageError when a value does not fit its slot.
    """
    values = {
        "mti": frozen.repeat_mti if repeat else frozen.mti,
        "reason": reason_code or "",
        "7": stamp,
        "11": stan,
        "12": local[4:],
        "13": local[:4],
    }
    body = bytearray(frozen.body)
    for slot in frozen.slots:
        if value := values.get(slot.name):
            body[slot.offset : slot.offset + slot.length] = _spliced(slot, value)
    return bytes(body)


def _spliced(slot: Slot, value: str) -> bytes:
    """Gives the bytes of a value for its slot, of exactly the slot's length."""
    digits = slot.length * 2 if slot.form == "bcd" else slot.length
    allowed = value.isdigit() if slot.form == "bcd" else value.isalnum()
    if len(value) != digits or not allowed or not value.isascii():
        raise MessageError(f"this value does not fit the slot {slot.name!r}", offset=slot.offset)
    if slot.form == "bcd":
        return bytes.fromhex(value)
    return value.encode(EBCDIC if slot.form == "ebcdic" else "ascii")
