"""The story of one transaction, told from its rows in the journal: `timeline(rows)`.

A row holds the facts after an event; what the event did is the difference to the row before. The sentences stand in
the catalogue under [timeline.*].
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from agent.currency import money
from agent.diagnosis import SET_ASIDE, error_code, error_text, response_text
from agent.journal_contract import Row
from agent.records import Evidence, State, Transaction, load
from agent.said import said
from agent.status_item import both
from agent.texts import Text, catalogue
from protocol.masking import scrub
from protocol.rules import ResponseRules


def timeline(rows: Iterable[Row], responses: ResponseRules | None = None) -> list[dict[str, Any]]:
    """One entry a row, oldest first: {seq, at_utc, event, state, tries, ended, text_en, text_zh}.

    `tries`: tries of the reversal so far. `ended`: how a try ended ("attempt-lost E-LINK-TIMEOUT"), "" where none did.
    `responses` gives the words for response codes; None where the lane is no longer configured.
    """
    entries: list[dict[str, Any]] = []
    before: Transaction | None = None
    for row in rows:
        after = load(row.public, b"")
        key = _key(row.event, before, after)
        entries.append(
            {
                "seq": row.seq,
                "at_utc": row.at_utc,
                "event": row.event,
                "state": row.state,
                "tries": after.attempts,
                "ended": _ended(key, after),
                **both("text", _sentence(key, row.event, before, after, responses)),
            }
        )
        before = after
    return entries


def _key(event: str, before: Transaction | None, after: Transaction) -> str:
    """Which sentence of the catalogue tells this row."""
    return _TELLERS[event](before, after) if event in _TELLERS and before is not None else _first(event, after)


def _ended(key: str, after: Transaction) -> str:
    """How a try ended, in words that are the same for tries that ended alike."""
    if key not in ("attempt-lost", "attempt-unsent", "attempt-refused", "attempt-unbelieved"):
        return ""
    return f"{key} {after.last_code or error_code(after.last_error) or after.last_error}"


def _sentence(
    key: str, event: str, before: Transaction | None, after: Transaction, responses: ResponseRules | None
) -> Text:
    texts = catalogue().timeline
    sentence = texts[key].fill(_values(event, before, after, responses))
    if before is not None and after.state is not before.state:
        return sentence + texts.get(f"now-{after.state}", Text("", ""))
    return sentence


def _first(event: str, after: Transaction) -> str:
    if event != "Begin":
        return "other"
    return "begin-application" if after.driver == "application" else "begin"


# --- which sentence, by event ------------------------------------------------------------------


def _unsent(before: Transaction, after: Transaction) -> str:
    return "attempt-unsent" if after.link_failures > before.link_failures else "request-unsent"


def _lost(before: Transaction, after: Transaction) -> str:
    return "attempt-lost" if before.sending else "request-lost"


def _answered(before: Transaction, after: Transaction) -> str:
    if after.state is State.REVERSED and before.state is not State.REVERSED:
        return "acknowledged"
    if before.state is State.BEGUN:
        if after.cause == "unsure":
            return "unsure"
        by_state = {State.APPROVED: "approved", State.COMPLETED: "approved-completed", State.DECLINED: "declined"}
        return by_state.get(after.state, "unbelieved" if after.response_code else "evidence")
    if before.sending and not after.sending:
        return "attempt-refused" if after.last_code else "attempt-unbelieved"
    return "evidence"


def _woken(before: Transaction, after: Transaction) -> str:
    if after.attempts > before.attempts:
        return "attempt"
    return "not-confirmed" if before.state is State.APPROVED else "no-report"


def _by_whom(before: Transaction, after: Transaction) -> str:
    set_aside = any(SET_ASIDE in f"{piece.what}: {piece.detail}" for piece in after.evidence[len(before.evidence) :])
    return "set-aside" if set_aside else "person"


_TELLERS: Mapping[str, Callable[[Transaction, Transaction], str]] = {
    "HostChosen": lambda before, after: "host-chosen",
    "Unsent": _unsent,
    "Lost": _lost,
    "Answered": _answered,
    "Noticed": lambda before, after: "evidence",
    "Complete": lambda before, after: "confirmed",
    "Reverse": lambda before, after: "called-off",
    "Wake": _woken,
    "Restart": lambda before, after: "restart",
    "Resume": lambda before, after: "resume",
    "Retry": lambda before, after: "retry",
    "Hold": _by_whom,
    "Release": _by_whom,
    "Park": _by_whom,
    "Settle": lambda before, after: "settled",
}


def _values(
    event: str, before: Transaction | None, after: Transaction, responses: ResponseRules | None
) -> dict[str, str | Text]:
    closing = after.closing
    return {
        "event": event,
        "amount": money(after.amount_minor, after.currency),
        "kind": catalogue().word("kind", after.kind),
        "card": after.masked_pan,
        "reference": after.reference,
        "stan": after.stan,
        "batch": after.batch,
        "host": after.host,
        "error": _quoted(error_text(after.last_error)),
        "response_code": after.response_code,
        "cause": catalogue().origin(after.cause),
        "tries": str(after.attempts),
        "code": after.last_code,
        "code_text": response_text(responses, after.last_code),
        "acknowledged": after.acknowledged_with,
        "grade": after.match_grade,
        "said": _news(before, after),
        "closed_by": closing.by if closing else "",
        "closed_why": scrub(closing.reason) if closing else "",
        "confirmed_by": (closing.confirmed_by if closing else "") or Text("nobody else", "无第二人"),
        "bank_reference": closing.bank_reference if closing else "",
    }


def _quoted(error: Text) -> Text:
    """An error inside a sentence that ends with its own full stop."""
    return Text(error.en.rstrip("."), error.zh.rstrip("。."))


def _news(before: Transaction | None, after: Transaction) -> Text:
    """The evidence that this row added, or the piece that it only repeated; "" where there is none ("?")."""
    known = len(before.evidence) if before else 0
    repeated = [piece for piece in after.evidence if piece.what == after.last_error][-1:]
    return evidence_text(after.evidence[known:] or repeated)


def evidence_text(evidence: Sequence[Evidence]) -> Text:
    """What was kept, in both languages."""
    told = [(said(piece.what), said(piece.detail)) for piece in evidence]
    return Text(
        "; ".join(f"{what.en}: {detail.en}" if detail.en else what.en for what, detail in told),
        "；".join(f"{what.zh}：{detail.zh}" if detail.zh else what.zh for what, detail in told),
    )
