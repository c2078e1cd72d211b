"""The sections of a host profile that say what to do: response codes, matching, retries, session."""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType
from typing import get_args

from protocol.elements import IDENTITY_FIELDS
from protocol.profile_sections import REQUEST_FACTS, read_slice, read_some_slice, read_templates
from protocol.rules import (
    MatchRules,
    NetworkMessage,
    ResponseRules,
    RetryRules,
    SessionRules,
    Verdict,
)
from protocol.tables import Table
from protocol.templates import Slice

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


def read_responses(table: Table, catalogue: Callable[[str], Table]) -> ResponseRules:
    """Reads [responses]. `catalogue` gives the tables of a text catalogue by its name."""
    texts = _texts(table.table("texts", optional=True))
    if name := table.text("catalogue"):
        codes = catalogue(name)
        texts = {**_texts(codes.table("codes")), **texts}
        codes.done()
    verdicts: dict[str, Verdict] = {}
    for verdict in get_args(Verdict):
        for code in table.texts(verdict):
            if code in verdicts:
                table.complain(verdict, f"code {code} has two meanings")
            verdicts[code] = verdict
    alarms = frozenset(table.texts("alarm", ()))
    for code in sorted(code for code in alarms if verdicts.get(code) == "done"):
        table.complain("alarm", f"code {code} ends the reversal: nobody need be called")
    approved = frozenset(table.texts("approved"))
    unsure = frozenset(table.texts("unsure", ()))
    for code in sorted(unsure & approved):
        table.complain("unsure", f"code {code} has two meanings")
    rules = ResponseRules(approved, MappingProxyType(verdicts), MappingProxyType(texts), alarms, unsure)
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


def read_matching(table: Table, fields: frozenset[int]) -> MatchRules:
    """Reads [matching]."""

    def slices(key: str) -> tuple[Slice, ...]:
        return tuple(read_slice(table, key, text, fields) for text in table.texts(key))

    rules = MatchRules(
        core=slices("core"),
        may_be_absent=slices("may_be_absent"),
        echoed=slices("echoed"),
        accept_repeat_reply=table.flag("accept_repeat_reply"),
    )
    for unknown in sorted({found.field for found in (*rules.core, *rules.echoed)} - {0, 2, *IDENTITY_FIELDS}):
        table.complain("echoed", f"element {unknown} is not stored for comparison: it could hold secrets")
    core = {found.field for found in rules.core}
    if not {4, 11, 41} <= core:
        table.complain("core", "must hold 4 (amount), 11 (STAN) and 41 (terminal)")
    elif any(found.field == 11 or found.field not in core for found in rules.may_be_absent):
        table.complain("may_be_absent", "must be elements of core other than 11 (STAN)")
    table.done()
    return rules


def read_retry(table: Table) -> RetryRules:
    """Reads [retry]."""
    triggers = table.texts("triggers")
    for needed in ("timer", "command"):
        if triggers and needed not in triggers:
            table.complain("triggers", f"must hold {needed}: a reversal never waits only for what may not happen")
    for unknown in sorted(set(triggers) - set(TRIGGERS)):
        table.complain("triggers", f"{unknown!r} is none of {', '.join(TRIGGERS)}")
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


def read_session(table: Table, fields: frozenset[int]) -> SessionRules:
    """Reads [session]."""
    messages = table.table("messages")
    requirements = table.table("requirements", optional=True)
    rules = SessionRules(
        sign_on_required=table.flag("sign_on_required"),
        sign_on_every_s=table.real("sign_on_every_s"),
        echo_every_s=table.real("echo_every_s"),
        messages=MappingProxyType({name: _network(name, messages.table(name), fields) for name in messages.names()}),
        keys_field=table.number("keys_field", None, 0, 128),
        batch_at=read_some_slice(table, "batch_at", fields),
        batch_follows_host=table.flag("batch_follows_host"),
        requirements=MappingProxyType(_requirements(requirements)),
        settle_gate=table.text("settle_gate", None, ("refuse", "wait", "override")),
        batch_codes=frozenset(table.texts("batch_codes")),
        key_codes=frozenset(table.texts("key_codes")),
        host_clock=table.pattern(
            "host_clock", "([+-](0[0-9]|1[0-4]):[0-5][0-9])?", 'a zone such as "+08:00", or empty'
        ),
    )
    if rules.sign_on_required and "sign-on" not in rules.messages:
        table.complain("sign_on_required", "needs [session.messages.sign-on]")
    for code in sorted(rules.batch_codes & rules.key_codes):
        table.complain("key_codes", f"code {code} has two meanings")
    table.done()
    return rules


def _network(name: str, table: Table, fields: frozenset[int]) -> NetworkMessage:
    message = NetworkMessage(
        name=name,
        mti=table.pattern("mti", "[0-29][1-8][0-9]{2}", "a message type"),
        templates=read_templates(table.table("elements"), fields, REQUEST_FACTS | {"totals", "details", "count"}),
    )
    table.done()
    return message


def _requirements(table: Table) -> dict[int, str]:
    actions = {}
    for key in table.names():
        if key not in tuple("0123456789ABCDEF"):
            table.complain(key, "must be one hexadecimal digit")
            continue
        actions[int(key, 16)] = table.text(key, None, ACTIONS)
    return actions
