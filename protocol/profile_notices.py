"""The sections of a host profile for messages that follow from sales and move no money: script results, uploads."""

from __future__ import annotations

from collections.abc import Sequence

from protocol.profile_sections import KINDS, NEVER_KEPT, NEVER_QUOTED, NEVER_TAGS, element_number, read_templates
from protocol.rules import BatchUploadRules, ScriptResultRules
from protocol.tables import Table

# What their templates may speak of; f2, f3 ... (elements of the original's reversal) come on top.
SCRIPT_FACTS = frozenset(
    {
        *("stan", "batch", "terminal_id", "merchant_id", "operator", "acquirer"),
        *("original_batch", "original_stan", "original_date"),
        *("learnt_approval_code", "learnt_rrn", "learnt_acquirer"),
    }
)
TRIES_MAX = 10  # each may cost a reversal the whole reply time-out


def read_script_result(table: Table, fields: frozenset[int]) -> ScriptResultRules | None:
    """Reads [script_result]; None where it is not there, or where `mti` is empty: this host wants none."""
    if not table.names() or not table.text("mti"):
        for key in table.names():
            table.pass_over(key)
        return None
    facts = SCRIPT_FACTS | {f"f{number}" for number in fields - NEVER_KEPT - NEVER_QUOTED}
    rules = ScriptResultRules(
        mti=table.pattern("mti", "[0-29]6[02]0", "a notice's type like 0620"),
        templates=read_templates(table.table("elements"), fields, facts),
        chip_field=element_number(table, "chip_field", fields),
        chip_tags=table.texts("chip_tags"),
        result_tag=table.pattern("result_tag", "([0-9A-F]{2}){1,3}", "a tag of chip data"),
        tries=table.number("tries", None, 1, TRIES_MAX),
    )
    for number in sorted(NEVER_KEPT & set(rules.templates)):
        table.complain("elements", f"element {number} must never be stored in a notice")
    for tag in sorted(NEVER_TAGS & set(rules.chip_tags)):
        table.complain("chip_tags", f"tag {tag} must never be stored in a notice")
    if rules.result_tag and rules.result_tag not in rules.chip_tags:
        table.complain("chip_tags", "must hold the result_tag")
    table.done()
    return rules


UPLOAD_MESSAGES = ("upload", "upload-end")
DETAILS_MAX = 8  # of 40 digits each, behind two digits of count: element 48 has 322


def read_batch_upload(table: Table, messages: Sequence[str]) -> BatchUploadRules | None:
    """Reads [batch_upload]; None where it is not there, or `per_message` is 0: this host wants none."""
    if not table.names():
        return None
    rules = BatchUploadRules(
        per_message=table.number("per_message", None, 0, DETAILS_MAX),
        kinds=table.texts("kinds"),
        leave_entry_modes=table.texts("leave_entry_modes"),
    )
    for unknown in sorted(set(rules.kinds) - set(KINDS)):
        table.complain("kinds", f"{unknown!r} is none of {', '.join(KINDS)}")
    for missing in sorted(set(UPLOAD_MESSAGES) - set(messages)) if rules.per_message else ():
        table.complain("per_message", f"needs [session.messages.{missing}]")
    table.done()
    return rules if rules.per_message else None
