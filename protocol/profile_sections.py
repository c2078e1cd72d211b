"""The sections of a host profile: each table of the TOML to the frozen rules that it states, everything checked."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, get_args

from protocol.elements import Format, Packing, element, parse_format
from protocol.errors import MessageError
from protocol.iso8583 import Codec, Message
from protocol.rules import (
    EnvelopeRules,
    Kind,
    MacRules,
    OnUnknown,
    RequestRules,
    ReversalRules,
)
from protocol.tables import Source, Table
from protocol.templates import Slice, Template, parse_slice, parse_template

KINDS = ("balance", "preauth", "preauth-void", "completion", "completion-void", "sale", "void", "refund")
REASONS = ("timeout", "mac", "other", "storage", "customer")
ALGORITHMS = (
    *("none", "up-ecb", "x919", "iso9797-3-pad1", "iso9797-3-pad2", "x99", "3des-cbc"),
    *("cmac-aes", "cmac-3des", "up-sm4"),
)
OUTPUTS = ("binary8", "hex8", "binary4")
# Elements and chip tags that must never be stored in a reversal: tracks, PIN block and its helpers. PCI DSS 3.3.
NEVER_KEPT = frozenset({34, 35, 36, 45, 52})
# Chip data goes into a reversal by tags only, never by template.
NEVER_QUOTED = frozenset({55})
# 56, 57, 5A, 9F6B: track 1, track 2, PAN, contactless track 2; 99: PIN; 9F1F, 9F20: rest of the tracks; 5F20: name.
NEVER_TAGS = frozenset({"56", "57", "5A", "99", "9F1F", "9F20", "9F6B", "5F20"})

# The facts that templates may speak of; f2, f3 ... (elements of the original) come on top in reversals.
REQUEST_FACTS = frozenset(
    {
        *("kind", "amount", "currency", "stan", "batch", "terminal_id", "merchant_id", "operator", "acquirer"),
        *("local_date", "local_time", "transmission", "year", "pan", "expiry", "track2", "pos_entry_mode"),
        *("card_sequence", "pin_block", "chip_data", "processing_code", "point_of_service_condition"),
        *("transaction_type", "original_rrn", "original_approval_code", "original_batch", "original_stan"),
        *("original_date", "original_time", "original_transmission", "original_mti"),
    }
)
_REVERSAL_FACTS = frozenset(
    {
        *("mti", "reason", "own_stan", "transaction_type"),
        *("learnt_approval_code", "learnt_rrn", "learnt_date", "learnt_time"),
    }
)

_ANY = Format("ans", 999, 3)  # stands for a format that is none, where errors are collected


def read_envelope(table: Table) -> EnvelopeRules:
    """Reads [envelope]."""
    rules = EnvelopeRules(
        length_bytes=table.number("length_bytes", None, 0, 4),
        length_form=table.text("length_form", None, ("binary", "bcd", "ascii")),
        length_counts_itself=table.flag("length_counts_itself"),
        length_max=table.number("length_max", None, 1, 65535),
        tpdu=bytes.fromhex(table.pattern("tpdu", "([0-9A-F]{10})?", "10 hexadecimal digits or empty")),
        header=bytes.fromhex(table.pattern("header", "([0-9A-F]{2})*", "hexadecimal bytes or empty")),
        requirement_nibble=table.number("requirement_nibble", None, -1, 64),
    )
    if rules.length_bytes == 0:
        table.complain("length_bytes", "a message on a stream needs a length")
    if rules.requirement_nibble >= 2 * len(rules.header):
        table.complain("requirement_nibble", "lies outside the header")
    table.done()
    return rules


def read_packings(table: Table, message: Table) -> dict[int, Packing]:
    """Reads [elements]: each a format, or a table with what differs from [message]. An empty text removes one."""
    defaults = {
        "n": message.text("numeric", None, ("bcd", "ascii", "ebcdic")),
        "text": message.text("text", "ascii", ("ascii", "ebcdic")),
        "b": message.text("binary", None, ("binary", "hex")),
        "indicator": message.text("indicator", None, ("bcd", "ascii", "binary", "ebcdic")),
        "fixed_side": message.text("odd_fixed_side", None, ("left", "right")),
        "variable_side": message.text("odd_variable_side", None, ("left", "right")),
        "pad": message.pattern("pad", "[0-9A-F]", "one hexadecimal digit"),
        "pad_accept": message.pattern("pad_accept", "[0-9A-F]?", "one hexadecimal digit or empty"),
    }
    packings = {}
    for key in table.names():
        if not key.isdecimal() or not 2 <= int(key) <= 128 or int(key) == 65:
            table.complain(key, "must be the number of an element: 2 to 128 without 65")
        elif table.is_table(key):
            own = table.table(key)
            packings[int(key)] = _packing(int(key), own.text("format"), own, "format", defaults)
            own.done()
        elif form := table.text(key):
            packings[int(key)] = _packing(int(key), form, table, key, defaults)
    return packings


def _packing(field: int, text: str, table: Table, key: str, defaults: Mapping[str, str]) -> Packing:
    form = parse_format(text) or _ANY
    if form is _ANY:
        table.complain(key, "must be a format like n6, n..19, ans...999, b8")
    own = table if key == "format" else Table({}, Source([("", "")]))
    texts = ("ascii", "ebcdic")
    usual = defaults["n"] if form.kind in "nz" else defaults["b"] if form.kind == "b" else defaults["text"]
    choices = ("binary", "hex") if form.kind == "b" else ("bcd", *texts) if form.kind in "nz" else texts
    return Packing(
        field=field,
        format=form,
        coding=own.text("coding", usual, choices),
        indicator_coding=own.text("indicator", defaults["indicator"], ("bcd", "ascii", "binary", "ebcdic")),
        pad_side=own.text("pad_side", defaults["variable_side" if form.indicator else "fixed_side"], ("left", "right")),
        pad=own.pattern("pad", "[0-9A-F]", "one hexadecimal digit", defaults["pad"]),
        pad_accept=own.pattern("pad_accept", "[0-9A-F]?", "one hexadecimal digit or empty", defaults["pad_accept"]),
    )


def read_templates(table: Table, fields: frozenset[int], facts: frozenset[str]) -> Mapping[int, Template]:
    """Reads a table of element = template. An empty template takes an inherited element out again."""
    templates = {}
    for key in table.names():
        text = table.text(key)
        if not key.isdecimal() or (text and int(key) not in fields):
            table.complain(key, "is not an element of this profile")
            continue
        template = parse_template(text)
        if template is None:
            table.complain(key, "is not a template")
            continue
        if unknown := sorted(template.names - facts):
            table.complain(key, f"speaks of facts that there are not: {', '.join(unknown)}")
        templates[int(key)] = template
    return MappingProxyType(templates)


def _reversal_templates(table: Table, fields: frozenset[int]) -> Mapping[int, Template]:
    """Reads templates of a reversal: they may speak of the original's elements, but not of its secrets."""
    facts = _REVERSAL_FACTS | {f"f{number}" for number in fields - NEVER_KEPT - NEVER_QUOTED}
    templates = read_templates(table, fields, facts)
    for number in sorted(NEVER_KEPT & set(templates)):
        table.complain(str(number), f"{element(number).name} must never be stored in a reversal")
    return templates


def read_slice(table: Table, key: str, text: str, fields: frozenset[int]) -> Slice:
    """Gives the slice that a text means; raises ProfileError when it means none of this profile."""
    found = parse_slice(text)
    if found is None or found.field not in fields:
        table.complain(key, f"{text!r} is not an element of this profile or positions of one, like 60:3-8")
    return found or Slice(0)


def read_some_slice(table: Table, key: str, fields: frozenset[int]) -> Slice | None:
    """Gives a slice, None where the text is empty."""
    text = table.text(key)
    return read_slice(table, key, text, fields) if text else None


def read_request(table: Table, fields: frozenset[int]) -> RequestRules:
    """Reads [request]."""
    rules = RequestRules(
        required=known_elements(table, "required", fields),
        templates=read_templates(table.table("elements"), fields, REQUEST_FACTS),
        type_at=read_some_slice(table, "type_at", fields),
    )
    table.done()
    return rules


def known_elements(table: Table, key: str, fields: frozenset[int]) -> tuple[int, ...]:
    """Gives a list of numbers of elements of this profile."""
    numbers = table.numbers(key)
    for unknown in sorted(set(numbers) - fields):
        table.complain(key, f"{unknown} is not an element of this profile")
    return numbers


def element_number(table: Table, key: str, fields: frozenset[int]) -> int:
    """Gives the number of an element of this profile."""
    number = table.number(key, None, 2, 128)
    if number not in fields:
        table.complain(key, f"{number} is not an element of this profile")
    return number


def read_kinds(table: Table, fields: frozenset[int]) -> Mapping[str, Kind]:
    """Reads [kinds]: every kind of KINDS must be there, more may be."""
    for name in KINDS:
        table.table(name)
    kinds: dict[str, Kind] = {}
    for name in table.names():
        kind = _kind(name, table.table(name), fields)
        for other in kinds.values():
            if _look_alike(kind, other):
                table.complain(name, f"cannot be told from {other.name} by message type, elements 3, 25 and type")
        kinds[name] = kind
    return MappingProxyType(kinds)


def _look_alike(kind: Kind, other: Kind) -> bool:
    """Tells whether the requests of two kinds cannot be told apart."""
    if (kind.mti, kind.processing_code) != (other.mti, other.processing_code):
        return False
    if kind.transaction_type and other.transaction_type:
        return kind.transaction_type == other.transaction_type
    return kind.point_of_service_condition == other.point_of_service_condition


def _kind(name: str, table: Table, fields: frozenset[int]) -> Kind:
    on_unknown: Any = table.text("on_unknown", None, get_args(OnUnknown))
    kind = Kind(
        name=name,
        mti=table.pattern("mti", "[0-29][1-8][0-9]{2}", "a message type"),
        processing_code=table.pattern("processing_code", "[0-9]{6}", "6 digits"),
        point_of_service_condition=table.pattern("point_of_service_condition", "([0-9]{2})?", "2 digits or empty", ""),
        transaction_type=table.pattern("transaction_type", "([0-9]{2,3})?", "2 or 3 digits or empty", ""),
        on_unknown=on_unknown,
        request_templates=read_templates(table.table("request", optional=True), fields, REQUEST_FACTS),
        reversal_templates=_reversal_templates(table.table("reversal", optional=True), fields),
    )
    table.done()
    return kind


_SLOT_KEYS = ("reason_field", "stamp_field", "local_time_field", "local_date_field")


def read_reversal(table: Table, fields: frozenset[int], codec: Codec) -> ReversalRules:
    """Reads [reversal]. A reason is told in a place of a stored message: one that does not fit is an error here."""
    types = table.table("types")
    reasons = table.table("reasons")
    rules = ReversalRules(
        types=MappingProxyType({mti: _reversal_type(types, mti) for mti in types.names()}),
        repeats=table.flag("repeats"),
        keep=known_elements(table, "keep", fields),
        templates=_reversal_templates(table.table("elements"), fields),
        stan=table.text("stan", None, ("original", "own")),
        stan_each_try=table.flag("stan_each_try"),
        reason_field=table.number("reason_field", None, 0, 128),
        reasons=MappingProxyType({reason: reasons.text(reason) for reason in REASONS}),
        reason_after_refusal=table.text("reason_after_refusal"),
        stamp_field=table.number("stamp_field", None, 0, 128),
        local_time_field=table.number("local_time_field", None, 0, 128),
        local_date_field=table.number("local_date_field", None, 0, 128),
        chip_field=table.number("chip_field", None, 0, 128),
        chip_tags=table.texts("chip_tags"),
        partial_field=table.number("partial_field", None, 0, 128),
    )
    for secret in sorted(NEVER_KEPT & set(rules.keep)):
        table.complain("keep", f"element {secret} ({element(secret).name}) must never be stored in a reversal")
    if rules.chip_field in rules.keep:
        table.complain("keep", "chip data is reduced by chip_field and chip_tags, never copied")
    for tag in sorted(NEVER_TAGS & set(rules.chip_tags)):
        table.complain("chip_tags", f"tag {tag} must never be stored in a reversal")
    for key in (*_SLOT_KEYS, "chip_field", "partial_field"):
        number = table.number(key)
        if number and number not in fields:
            table.complain(key, f"{number} is not an element of this profile")
    for name, code in rules.reasons.items():
        _fits(reasons, name, code, rules.reason_field, codec)
    if rules.reason_after_refusal:
        _fits(table, "reason_after_refusal", rules.reason_after_refusal, rules.reason_field, codec)
    reasons.done()
    table.done()
    return rules


def _fits(table: Table, key: str, code: str, field: int, codec: Codec) -> None:
    """Complains of a reason that the reason's element cannot hold, or that `render` could not put into its place."""
    if field not in codec.packings:
        return
    try:
        codec.pack(Message("0400", {field: code}))
    except MessageError:
        form = codec.packings[field].format
        table.complain(key, f"{code!r} does not fit element {field} ({form.kind}{'.' * form.indicator}{form.length})")
        return
    if not (code.isascii() and code.isalnum()):
        table.complain(key, f"{code!r} is not made of letters and digits")


def _reversal_type(table: Table, mti: str) -> str:
    return table.pattern(mti, "[0-29]4[02]0", "a reversal's type like 0400 or 0420")


def read_mac(
    table: Table, packings: Mapping[int, Packing], codec: Codec, bitmap_form: str, approved: frozenset[str]
) -> MacRules:
    """Reads [mac]. `approved`: codes that approve; they never count without a MAC."""
    algorithm = table.text("algorithm", None, ALGORITHMS)
    field = table.number("field", None, 0, 128)
    if field not in (0, 64, 128):
        table.complain("field", "must be 64, 128 or 0 (no MAC)")
    elif algorithm != "none" and not field:
        table.complain("field", "an algorithm needs a field")
    packing = packings.get(field)
    if field in (64, 128) and (packing is None or packing.format.length != 8 or packing.format.indicator):
        table.complain("field", f"element {field} must be there with 8 bytes or characters")
    rules = MacRules(
        algorithm=algorithm,
        output=table.text("output", None, OUTPUTS),
        field=field or None,
        wire_bytes=16 if packing and packing.coding == "hex" else 8,
        classes=table.texts("classes"),
        core=table.text("core", None, ("software", "pinpad")),
        mti_bytes=codec.mti_bytes,
        bitmap_form=bitmap_form,
        optional_on=frozenset(table.texts("optional_on", ())),
    )
    for code in sorted(rules.optional_on & approved):
        table.complain("optional_on", f"code {code} approves: it never counts without a MAC")
    table.done()
    return rules
