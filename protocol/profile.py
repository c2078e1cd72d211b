"""Loading of host profiles: TOML, one dialect a file, `extends` for all but the differences, everything checked.

Rules: a key that is unknown, missing or of the wrong type is a ProfileError that names file, line and key;
a profile that would put card secrets into a reversal does not load. This is the only file of `protocol/`
that reads files: the profiles beside it, and those in the directories that the caller names.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, get_args

from protocol.elements import Packing, element, parse_format
from protocol.errors import ProfileError
from protocol.iso8583 import Codec
from protocol.rules import (
    EnvelopeRules,
    Kind,
    MacRules,
    MatchRules,
    NetworkMessage,
    OnUnknown,
    Profile,
    RequestRules,
    ResponseRules,
    RetryRules,
    ReversalRules,
    SessionRules,
    Verdict,
)
from protocol.tables import Source, Table
from protocol.templates import Slice, Template, parse_slice, parse_template

__all__ = ["Profile", "load_profile", "profile_names"]

_SHIPPED = Path(__file__).with_name("profiles")
_CATALOGUE = "response-codes"
_DEPTH_MAX = 8  # a chain of `extends` longer than this is a circle

KINDS = ("balance", "preauth", "preauth-void", "completion", "completion-void", "sale", "void", "refund")
REASONS = ("timeout", "mac", "other", "storage", "customer")
ALGORITHMS = (
    *("none", "up-ecb", "x919", "iso9797-3-pad1", "iso9797-3-pad2", "x99", "3des-cbc"),
    *("cmac-aes", "cmac-3des", "up-sm4"),
)
OUTPUTS = ("binary8", "hex8", "binary4")
TRIGGERS = ("link-up", "timer", "before-sale", "sign-on", "before-settlement", "command")
ACTIONS = (
    "none",
    "sign-on",
    "download-parameters",
    "upload-status",
    "download-capk",
    "download-emv",
    "update",
    "blacklist",
)

# Elements and chip tags that must never be stored in a reversal: tracks, PIN block and its helpers. PCI DSS 3.3.
NEVER_KEPT = frozenset({34, 35, 36, 45, 52})
# 56, 57, 5A, 9F6B: track 1, track 2, PAN, contactless track 2; 99: PIN; 9F1F, 9F20: rest of the tracks; 5F20: name.
NEVER_TAGS = frozenset({"56", "57", "5A", "99", "9F1F", "9F20", "9F6B", "5F20"})

# The facts that templates may speak of; f2, f3 ... (elements of the original) come on top in reversals.
_REQUEST_FACTS = frozenset(
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


def profile_names() -> list[str]:
    """Gives the names of the profiles that come with the program."""
    return sorted(path.stem for path in _SHIPPED.glob("*.toml") if path.stem != _CATALOGUE)


def load_profile(name_or_path: str, directories: Sequence[Path | str] = ()) -> Profile:
    """Gives a host profile by name ("unionpay-pos") or path ("/etc/pos/ourbank.toml"), found in `directories` first.

    Raises ProfileError with file, line and key when anything about it is wrong.
    """
    places = [Path(directory) for directory in directories]
    data, files, name = _read_chain(name_or_path, places)
    source = Source(files)
    root = Table(data, source)
    root.text("extends", "")
    profile = _profile(name, root, places)
    root.done()
    return profile


def _read_chain(name: str, places: Sequence[Path]) -> tuple[dict[str, Any], list[tuple[str, str]], str]:
    """Gives the merged tables, the files they come from (special first) and the profile's name."""
    chain: list[dict[str, Any]] = []
    files: list[tuple[str, str]] = []
    wanted, own_name, origin = name, "", ""
    while wanted:
        path = _find(wanted, places, origin)
        data, text = _read(path)
        if len(chain) >= _DEPTH_MAX:
            raise ProfileError("`extends` goes in a circle", where=f"{files[0][0]}, key extends")
        chain.append(data)
        files.append((path.name, text))
        own_name = own_name or path.stem
        wanted, origin = data.get("extends", ""), path.name
        if not isinstance(wanted, str):
            raise ProfileError("must be a string", where=f"{path.name}, key extends")
    merged: dict[str, Any] = {}
    for data in reversed(chain):
        merged = _merge(merged, data)
    return merged, files, own_name


def _merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Gives tables with the keys of `over` in place of those of `base`, tables merged key by key."""
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        merged[key] = _merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def _find(name: str, places: Sequence[Path], origin: str) -> Path:
    """Gives the file of a profile: a path, or a name looked up in the caller's directories, then in ours."""
    if name.endswith(".toml") or "/" in name:
        return Path(name)
    for place in (*places, _SHIPPED):
        path = place / f"{name}.toml"
        if path.is_file():
            return path
    known = ", ".join(profile_names())
    where = f"{origin}, key extends" if origin else ""
    raise ProfileError(f"no profile is called {name!r}", where=where, hint=f"known: {known}")


def _read(path: Path) -> tuple[dict[str, Any], str]:
    try:
        text = path.read_text("utf-8")
        return tomllib.loads(text), text
    except tomllib.TOMLDecodeError as error:
        raise ProfileError(f"is not TOML: {error}", where=path.name) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ProfileError(f"cannot be read: {error}", where=path.name) from None


def _profile(name: str, root: Table, places: Sequence[Path]) -> Profile:
    message = root.table("message")
    packings = _packings(root.table("elements"), message)
    codec = Codec(packings.values(), message.text("mti", None, ("bcd", "ascii")), _bitmap_form(message))
    message.done()
    fields = frozenset(packings)
    request = root.table("request")
    return Profile(
        name=name,
        title=root.text("title"),
        confirm=root.text("confirm", None, ("on-approval", "by-application")),
        confirm_timeout_s=root.real("confirm_timeout_s"),
        envelope=_envelope(root.table("envelope")),
        codec=codec,
        request=_request(request, fields),
        kinds=_kinds(root.table("kinds"), fields),
        reversal=_reversal(root.table("reversal"), fields),
        mac=_mac(root.table("mac"), packings, codec, _bitmap_form(message)),
        responses=_responses(root.table("responses"), places),
        matching=_matching(root.table("matching"), fields),
        retry=_retry(root.table("retry")),
        session=_session(root.table("session"), fields),
    )


def _bitmap_form(message: Table) -> str:
    return message.text("bitmap", None, ("binary", "hex"))


def _envelope(table: Table) -> EnvelopeRules:
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
        raise table.error("length_bytes", "a message on a stream needs a length")
    if rules.requirement_nibble >= 2 * len(rules.header):
        raise table.error("requirement_nibble", "lies outside the header")
    table.done()
    return rules


def _packings(table: Table, message: Table) -> dict[int, Packing]:
    """Reads [elements]: each a format, or a table with what differs from [message]. An empty text removes one."""
    defaults = {
        "n": message.text("numeric", None, ("bcd", "ascii")),
        "b": message.text("binary", None, ("binary", "hex")),
        "indicator": message.text("indicator", None, ("bcd", "ascii", "binary")),
        "fixed_side": message.text("odd_fixed_side", None, ("left", "right")),
        "variable_side": message.text("odd_variable_side", None, ("left", "right")),
        "pad": message.pattern("pad", "[0-9A-F]", "one hexadecimal digit"),
        "pad_accept": message.pattern("pad_accept", "[0-9A-F]?", "one hexadecimal digit or empty"),
    }
    packings = {}
    for key in table.names():
        if not key.isdecimal() or not 2 <= int(key) <= 128 or int(key) == 65:
            raise table.error(key, "must be the number of an element: 2 to 128 without 65")
        if table.is_table(key):
            own = table.table(key)
            packings[int(key)] = _packing(int(key), own.text("format"), own, "format", defaults)
            own.done()
        elif form := table.text(key):
            packings[int(key)] = _packing(int(key), form, table, key, defaults)
    return packings


def _packing(field: int, text: str, table: Table, key: str, defaults: Mapping[str, str]) -> Packing:
    form = parse_format(text)
    if form is None:
        raise table.error(key, "must be a format like n6, n..19, ans...999, b8")
    own = table if key == "format" else Table({}, Source([("", "")]))
    usual = defaults["n"] if form.kind in "nz" else defaults["b"] if form.kind == "b" else "ascii"
    choices = ("binary", "hex") if form.kind == "b" else ("bcd", "ascii") if form.kind in "nz" else ("ascii",)
    return Packing(
        field=field,
        format=form,
        coding=own.text("coding", usual, choices),
        indicator_coding=own.text("indicator", defaults["indicator"], ("bcd", "ascii", "binary")),
        pad_side=own.text("pad_side", defaults["variable_side" if form.indicator else "fixed_side"], ("left", "right")),
        pad=own.pattern("pad", "[0-9A-F]", "one hexadecimal digit", defaults["pad"]),
        pad_accept=own.pattern("pad_accept", "[0-9A-F]?", "one hexadecimal digit or empty", defaults["pad_accept"]),
    )


def _templates(table: Table, fields: frozenset[int], facts: frozenset[str]) -> Mapping[int, Template]:
    """Reads a table of element = template. An empty template takes an inherited element out again."""
    templates = {}
    for key in table.names():
        text = table.text(key)
        if not key.isdecimal() or int(key) not in fields:
            raise table.error(key, "is not an element of this profile")
        template = parse_template(text)
        if template is None:
            raise table.error(key, "is not a template")
        if unknown := sorted(name for name in template.names if name not in facts and not _is_element(name, fields)):
            raise table.error(key, f"speaks of facts that there are not: {', '.join(unknown)}")
        if text:
            templates[int(key)] = template
    return MappingProxyType(templates)


def _is_element(name: str, fields: frozenset[int]) -> bool:
    return name[0] == "f" and name[1:].isdecimal() and int(name[1:]) in fields


def _slice(table: Table, key: str, text: str, fields: frozenset[int]) -> Slice:
    found = parse_slice(text)
    if found is None or found.field not in fields:
        raise table.error(key, f"{text!r} is not an element of this profile or positions of one, like 60:3-8")
    return found


def _some_slice(table: Table, key: str, fields: frozenset[int]) -> Slice | None:
    text = table.text(key)
    return _slice(table, key, text, fields) if text else None


def _request(table: Table, fields: frozenset[int]) -> RequestRules:
    rules = RequestRules(
        required=_known(table, "required", fields),
        templates=_templates(table.table("elements"), fields, _REQUEST_FACTS),
        type_at=_some_slice(table, "type_at", fields),
    )
    table.done()
    return rules


def _known(table: Table, key: str, fields: frozenset[int]) -> tuple[int, ...]:
    numbers = table.numbers(key)
    if unknown := sorted(set(numbers) - fields):
        raise table.error(key, f"{unknown[0]} is not an element of this profile")
    return numbers


def _kinds(table: Table, fields: frozenset[int]) -> Mapping[str, Kind]:
    for name in KINDS:
        table.table(name)
    kinds = {name: _kind(name, table.table(name), fields) for name in table.names()}
    return MappingProxyType(kinds)


def _kind(name: str, table: Table, fields: frozenset[int]) -> Kind:
    on_unknown: Any = table.text("on_unknown", None, get_args(OnUnknown))
    kind = Kind(
        name=name,
        mti=table.pattern("mti", "[0-29][1-8][0-9]{2}", "a message type"),
        processing_code=table.pattern("processing_code", "[0-9]{6}", "6 digits"),
        point_of_service_condition=table.pattern("point_of_service_condition", "[0-9]{2,4}", "2 to 4 digits", ""),
        transaction_type=table.pattern("transaction_type", "[0-9]{2}", "2 digits", ""),
        on_unknown=on_unknown,
        request_templates=_templates(table.table("request", optional=True), fields, _REQUEST_FACTS),
        reversal_templates=_templates(table.table("reversal", optional=True), fields, _REVERSAL_FACTS),
    )
    table.done()
    return kind


def _reversal(table: Table, fields: frozenset[int]) -> ReversalRules:
    types = table.table("types")
    reasons = table.table("reasons")
    rules = ReversalRules(
        types=MappingProxyType(
            {mti: types.pattern(mti, "[0-29]4[0-9]{2}", "a reversal's type") for mti in types.names()}
        ),
        repeats=table.flag("repeats"),
        keep=_known(table, "keep", fields),
        templates=_templates(table.table("elements"), fields, _REVERSAL_FACTS),
        stan=table.text("stan", None, ("original", "own")),
        stan_each_try=table.flag("stan_each_try"),
        reason_field=table.number("reason_field", None, 2, 128),
        reasons=MappingProxyType({reason: reasons.text(reason) for reason in REASONS}),
        reason_after_refusal=table.text("reason_after_refusal"),
        stamp_field=table.number("stamp_field", None, 0, 128),
        local_time_field=table.number("local_time_field", None, 0, 128),
        local_date_field=table.number("local_date_field", None, 0, 128),
        chip_field=table.number("chip_field", None, 0, 128),
        chip_tags=table.texts("chip_tags"),
        partial_field=table.number("partial_field", None, 0, 128),
    )
    if secret := sorted(NEVER_KEPT & {*rules.keep, *rules.templates}):
        name = element(secret[0]).name
        raise table.error("keep", f"element {secret[0]} ({name}) must never be stored in a reversal")
    if rules.chip_field in rules.keep:
        raise table.error("keep", "chip data is reduced by chip_field and chip_tags, never copied")
    if secret_tags := sorted(NEVER_TAGS & set(rules.chip_tags)):
        raise table.error("chip_tags", f"tag {secret_tags[0]} must never be stored in a reversal")
    for key in ("reason_field", "stamp_field", "local_time_field", "local_date_field", "chip_field", "partial_field"):
        number = table.number(key)
        if number and number not in fields:
            raise table.error(key, f"{number} is not an element of this profile")
    reasons.done()
    table.done()
    return rules


def _reversal_type(table: Table, mti: str) -> str:
    return table.pattern(mti, "[0-29]4[02]0", "a reversal's type like 0400 or 0420")


def _mac(table: Table, packings: Mapping[int, Packing], codec: Codec, bitmap_form: str) -> MacRules:
    algorithm = table.text("algorithm", None, ALGORITHMS)
    field = table.number("field", None, 0, 128)
    rules = MacRules(
        algorithm=algorithm,
        output=table.text("output", None, OUTPUTS),
        field=field or None,
        wire_bytes=16 if field and packings[field].coding == "hex" else 8,
        classes=table.texts("classes"),
        core=table.text("core", None, ("software", "pinpad")),
        mti_bytes=codec.mti_bytes,
        bitmap_form=bitmap_form,
    )
    if field not in (0, 64, 128):
        raise table.error("field", "must be 64, 128 or 0 (no MAC)")
    if algorithm != "none" and not field:
        raise table.error("field", "an algorithm needs a field")
    table.done()
    return rules


def _responses(table: Table, places: Sequence[Path]) -> ResponseRules:
    catalogue = table.text("catalogue")
    texts = _texts(table.table("texts", optional=True))
    if catalogue:
        path = _find(catalogue, places, "")
        data, text = _read(path)
        codes = Table(data, Source([(path.name, text)]))
        texts = {**_texts(codes.table("codes")), **texts}
        codes.done()
    verdicts: dict[str, Verdict] = {}
    for verdict in get_args(Verdict):
        for code in table.texts(verdict):
            if code in verdicts:
                raise table.error(verdict, f"code {code} has two meanings")
            verdicts[code] = verdict
    rules = ResponseRules(frozenset(table.texts("approved")), MappingProxyType(verdicts), MappingProxyType(texts))
    table.done()
    return rules


def _texts(table: Table) -> dict[str, tuple[str, str]]:
    """Reads response code = { en = "...", zh = "..." }."""
    texts = {}
    for code in table.names():
        pair = table.table(code)
        texts[code] = (pair.text("en"), pair.text("zh"))
        pair.done()
    return texts


def _matching(table: Table, fields: frozenset[int]) -> MatchRules:
    def slices(key: str) -> tuple[Slice, ...]:
        return tuple(_slice(table, key, text, fields) for text in table.texts(key))

    rules = MatchRules(
        core=slices("core"),
        may_be_absent=slices("may_be_absent"),
        echoed=slices("echoed"),
        accept_repeat_reply=table.flag("accept_repeat_reply"),
    )
    core = {found.field for found in rules.core}
    if not {4, 11, 41} <= core:
        raise table.error("core", "must hold 4 (amount), 11 (STAN) and 41 (terminal)")
    if any(found.field == 11 or found.field not in core for found in rules.may_be_absent):
        raise table.error("may_be_absent", "must be elements of core other than 11 (STAN)")
    table.done()
    return rules


def _retry(table: Table) -> RetryRules:
    triggers = table.texts("triggers")
    if unknown := sorted(set(triggers) - set(TRIGGERS)):
        raise table.error("triggers", f"{unknown[0]!r} is none of {', '.join(TRIGGERS)}")
    rules = RetryRules(
        first_delay_s=table.real("first_delay_s"),
        base_s=table.real("base_s", None, 0.1),
        factor=table.real("factor", None, 1.0, 10.0),
        cap_s=table.real("cap_s", None, 1.0),
        jitter=table.real("jitter", None, 0.0, 1.0),
        park_after_attempts=table.number("park_after_attempts", None, 1),
        parked_every_s=table.real("parked_every_s", None, 1.0),
        connect_timeout_s=table.real("connect_timeout_s", None, 0.1),
        send_timeout_s=table.real("send_timeout_s", None, 0.1),
        reply_timeout_s=table.real("reply_timeout_s", None, 0.1),
        overtake_window_s=table.real("overtake_window_s"),
        persistent_connection=table.flag("persistent_connection"),
        triggers=triggers,
    )
    table.done()
    return rules


def _session(table: Table, fields: frozenset[int]) -> SessionRules:
    messages = table.table("messages")
    requirements = table.table("requirements", optional=True)
    rules = SessionRules(
        sign_on_required=table.flag("sign_on_required"),
        sign_on_every_s=table.real("sign_on_every_s"),
        echo_every_s=table.real("echo_every_s"),
        messages=MappingProxyType({name: _network(name, messages.table(name), fields) for name in messages.names()}),
        keys_field=table.number("keys_field", None, 0, 128),
        batch_at=_some_slice(table, "batch_at", fields),
        batch_follows_host=table.flag("batch_follows_host"),
        requirements=MappingProxyType(_requirements(requirements)),
        settle_gate=table.text("settle_gate", None, ("refuse", "wait", "override")),
    )
    if rules.sign_on_required and "sign-on" not in rules.messages:
        raise table.error("sign_on_required", "needs [session.messages.sign-on]")
    table.done()
    return rules


def _network(name: str, table: Table, fields: frozenset[int]) -> NetworkMessage:
    message = NetworkMessage(
        name=name,
        mti=table.pattern("mti", "[0-29][1-8][0-9]{2}", "a message type"),
        templates=_templates(table.table("elements"), fields, _REQUEST_FACTS | {"totals"}),
    )
    table.done()
    return message


def _requirements(table: Table) -> dict[int, str]:
    actions = {}
    for key in table.names():
        if key not in tuple("0123456789ABCDEF"):
            raise table.error(key, "must be one hexadecimal digit")
        actions[int(key, 16)] = table.text(key, None, ACTIONS)
    return actions
