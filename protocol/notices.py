"""Messages that follow from a sale and move no money: what the issuer's scripts did on the card (0620)."""

from __future__ import annotations

from collections.abc import Mapping

from protocol.errors import MessageError
from protocol.iso8583 import Message
from protocol.mac import reserve
from protocol.rules import Profile
from protocol.tlv import pick_tags, read_tags

_RESULT_BYTES = 5  # of one script in tag DF31: result, then the script's id. Assumed, as in drivers/emv_session.py


def build_script_result(profile: Profile, reversal: bytes, chip_data: str, facts: Mapping[str, str]) -> Message:
    """Gives the message with room for its MAC. `reversal`: the packed reversal of the sale, which holds its elements.

    `facts`: stan, batch, terminal_id, merchant_id, operator, acquirer, original_*, learnt_* (profile_notices).
    Raises MessageError where the profile has no such message, or the chip data holds no result.
    """
    rules = profile.script_result
    if rules is None:
        raise MessageError("the profile has no message for script results")
    if not script_results(chip_data, rules.result_tag):
        raise MessageError(f"the chip data holds no script result (tag {rules.result_tag})", field=rules.chip_field)
    original = profile.codec.unpack(reversal)
    known = {f"f{number}": value for number, value in original.fields.items()} | dict(facts)
    values = {number: value for number, template in rules.templates.items() if (value := template.fill(known))}
    values[rules.chip_field] = pick_tags(chip_data, rules.chip_tags)
    message = reserve(profile, Message(rules.mti, values))
    profile.codec.pack(message)
    return message


def script_results(chip_data: str, result_tag: str) -> str:
    """Gives the results (hexadecimal), "" where there are none or they are no whole number of scripts."""
    found = dict(read_tags(chip_data)).get(result_tag, "")
    return found if found and len(found) % (2 * _RESULT_BYTES) == 0 else ""
