"""Facts of a sale to its request, and of a session to its messages, by the templates of the profile."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, fields

from protocol import masking
from protocol.errors import MessageError
from protocol.frozen import dataclass
from protocol.iso8583 import Message
from protocol.mac import reserve
from protocol.rules import Profile
from protocol.templates import Template

# How a fact may be shown: as the element that it becomes.
_SHOWN_AS = {"pan": 2, "expiry": 14, "track2": 35, "pin_block": 52, "chip_data": 55}
_AMOUNT_MAX = 999_999_999_999  # element 4 has 12 digits (ISO 8583:1987 section 4.3)


@dataclass(frozen=True, repr=False)
class RequestFacts:
    """What is known when a request is built. Empty means unknown; `original` speaks of the transaction that a void,
    refund or completion refers to (rrn, approval_code, batch, stan, date, time, transmission, mti).

    `year` ("26") is for hosts that want it in element 12 (ISO 8583:1993); others need none.
    """

    kind: str
    amount_minor: int = 0
    currency: str = "156"
    stan: str = ""
    batch: str = ""
    terminal_id: str = ""
    merchant_id: str = ""
    local_date: str = ""
    local_time: str = ""
    transmission: str = ""
    pan: str = ""
    expiry: str = ""
    track2: str = ""
    pos_entry_mode: str = ""
    card_sequence: str = ""
    pin_block: str = ""
    chip_data: str = ""
    original: Mapping[str, str] = field(default_factory=dict)
    operator: str = ""
    acquirer: str = ""
    year: str = ""

    def __repr__(self) -> str:
        shown = ", ".join(
            f"{item.name}={_shown(item.name, getattr(self, item.name))}"
            for item in fields(self)
            if getattr(self, item.name) not in ("", {})
        )
        return f"RequestFacts({shown})"


def build_request(profile: Profile, facts: RequestFacts) -> Message:
    """Gives the request of a sale; where the profile wants a MAC, its field holds zeros.

    Raises MessageError naming the fact that is missing or the element that cannot hold its value.
    """
    kind = profile.kinds.get(facts.kind)
    if kind is None:
        raise MessageError(f"the profile knows no transaction of kind {facts.kind!r}")
    if not 0 <= facts.amount_minor <= _AMOUNT_MAX:
        raise MessageError("the amount is outside 0 to 999999999999", field=4)
    templates = {**profile.request.templates, **kind.request_templates}
    known = _facts(facts) | {
        "processing_code": kind.processing_code,
        "point_of_service_condition": kind.point_of_service_condition,
        "transaction_type": kind.transaction_type,
    }
    required = {*profile.request.required, *kind.request_templates}
    message = Message(kind.mti, _fill(templates, known, required))
    return _checked(profile, message)


def build_network_message(
    profile: Profile, name: str, facts: RequestFacts, totals: str = "", *, details: str = "", count: str = ""
) -> Message:
    """Gives a message of the session ("sign-on", "echo" ...). Raises MessageError like `build_request`.

    `totals`, `details` and `count` are for element 48 of a settlement, of an upload and of its end.
    """
    rules = profile.session.messages.get(name)
    if rules is None:
        raise MessageError(f"the profile has no session message {name!r}")
    known = _facts(facts) | {"totals": totals, "details": details, "count": count}
    filled = _fill(rules.templates, known, set(rules.templates))
    return _checked(profile, Message(rules.mti, filled))


def _checked(profile: Profile, message: Message) -> Message:
    """Gives the message with room for its MAC; raises MessageError when it cannot be packed."""
    message = reserve(profile, message)
    profile.codec.pack(message)
    return message


def _fill(templates: Mapping[int, Template], known: Mapping[str, str], required: set[int]) -> dict[int, str]:
    """Gives the values of the elements; one whose facts are not known is left out, unless it is required."""
    values = {}
    for number, template in templates.items():
        value = template.fill(known)
        if value:
            values[number] = value
        elif number in required and (missing := template.missing(known)):
            raise MessageError(f"{', '.join(missing)} is missing", field=number)
    return values


def _facts(facts: RequestFacts) -> dict[str, str]:
    """Gives the facts under the names that templates use."""
    plain = {
        item.name: getattr(facts, item.name) for item in fields(facts) if item.name not in ("amount_minor", "original")
    }
    original = {f"original_{name}": value for name, value in facts.original.items()}
    return {**plain, **original, "amount": f"{facts.amount_minor:012d}"}


def _shown(name: str, value: object) -> str:
    """Gives what may be shown of one fact."""
    if isinstance(value, str):
        return repr(masking.show(_SHOWN_AS[name], value) if name in _SHOWN_AS else masking.scrub(value))
    return masking.scrub(str(value))
