"""What the answer to the original adds to its frozen reversal: approval code, dates, chip data.

Only before a byte of the reversal left: afterwards its identity never changes.
"""

from __future__ import annotations

from protocol.iso8583 import Message
from protocol.mac import reserve
from protocol.reversal import FrozenReversal, Learnt, _slots, identity_of
from protocol.rules import Profile
from protocol.tlv import pick_tags


def learn(frozen: FrozenReversal, profile: Profile, kind: str, learnt: Learnt) -> FrozenReversal:
    """Gives the reversal with the elements whose templates speak of what was learnt made anew.

    `kind` is the transaction's kind by name. Raises MessageError when the result cannot be packed.
    """
    rules = profile.reversal
    message = profile.codec.unpack(frozen.body)
    facts = {f"f{number}": value for number, value in message.fields.items()}
    facts |= {
        "transaction_type": profile.kinds[kind].transaction_type,
        "learnt_approval_code": learnt.approval_code,
        "learnt_rrn": learnt.rrn,
        "learnt_date": learnt.date,
        "learnt_time": learnt.time,
    }
    changes: dict[int, str | None] = {}
    for number, template in {**rules.templates, **profile.kinds[kind].reversal_templates}.items():
        if any(name.startswith("learnt_") for name in template.names):
            changes[number] = template.fill(facts)
    if chip := pick_tags(learnt.chip_data, rules.chip_tags):
        changes[rules.chip_field] = chip
    learned = reserve(profile, Message(frozen.mti, message.with_fields(changes).fields))
    body = profile.codec.pack(learned)
    return FrozenReversal(body, _slots(profile, learned, body), frozen.mti, frozen.repeat_mti, identity_of(learned))
