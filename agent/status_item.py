"""One transaction as status, API and operators see it: a JSON-able dict without card data (docs/status.md, "items").

The same dict stands in status.json and in the answers of `reversal.list`, `reversal.show` and `reversal.why`.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from agent.currency import exponent, letters, money
from agent.diagnosis import Surroundings, age_s, diagnose, response_text
from agent.events import Now
from agent.records import OWED, State, Transaction
from agent.texts import Text, catalogue
from protocol.masking import scrub


def item(txn: Transaction, surroundings: Surroundings, now: Now) -> dict[str, Any]:
    """Everything that people may know about one transaction. `surroundings` are those of its lane."""
    return {
        **_identity(txn),
        **_progress(txn, surroundings, now),
        **_tries(txn, surroundings, now),
        "origin": _origin(txn),
        "diagnosis": diagnosis(txn, surroundings),
        "evidence_count": len(txn.evidence) + txn.evidence_dropped,
        "last_evidence": _last_evidence(txn),
        "closing": _closing(txn),
    }


def diagnosis(txn: Transaction, surroundings: Surroundings) -> dict[str, Any]:
    """The diagnosis as a dict: code, class, who acts, and every text in both languages."""
    found = diagnose(txn, surroundings)
    return {
        "code": found.code,
        "class": found.cause_class,
        "confidence": found.confidence,
        "who": found.who,
        "beneath": found.beneath,
        **both("cause", found.cause),
        **both("money", found.money),
        **both("action", found.action),
        "evidence_en": [piece.en for piece in found.evidence],
        "evidence_zh": [piece.zh for piece in found.evidence],
        "commands": list(found.commands),
    }


def both(name: str, text: Text) -> dict[str, str]:
    """A text under two keys: `name_en` and `name_zh`."""
    return {f"{name}_en": text.en, f"{name}_zh": text.zh}


def next_try(txn: Transaction, now: Now) -> tuple[float | None, str]:
    """Seconds until the next try and its wall time; (None, "") where none is planned. Never negative."""
    if txn.state not in OWED or txn.wake_at is None:
        return None, ""
    seconds = max(0.0, txn.wake_at - now.mono)
    at = now.utc + timedelta(seconds=seconds)
    return round(seconds, 1), at.strftime("%Y-%m-%dT%H:%M:%SZ")


def _identity(txn: Transaction) -> dict[str, Any]:
    return {
        "id": txn.id,
        "lane": txn.lane,
        "reference": txn.reference,
        "kind": txn.kind,
        "amount_minor": txn.amount_minor,
        "currency": txn.currency,
        "currency_letters": letters(txn.currency),
        "exponent": exponent(txn.currency),
        "amount": money(txn.amount_minor, txn.currency),
        "card": txn.masked_pan,
        "stan": txn.stan,
        "batch": txn.batch,
        "terminal_id": txn.terminal_id,
        "merchant_id": txn.merchant_id,
        "rrn": txn.rrn,
        "approval_code": txn.approval_code,
        "profile": txn.profile,
        "host": txn.host,
        "driver": txn.driver,
    }


def _progress(txn: Transaction, surroundings: Surroundings, now: Now) -> dict[str, Any]:
    age = age_s(txn.begun_at_utc, now.utc)
    return {
        "state": str(txn.state),
        **both("state", catalogue().word("state", txn.state)),
        "pending": txn.pending,
        "held": txn.held,
        "begun_utc": txn.begun_at_utc,
        "age_s": None if age is None else max(0, int(age)),
        "ended_utc": txn.ended_at_utc,
        "response_code": txn.response_code,
        **both("response", response_text(surroundings.responses, txn.response_code)),
        "acknowledged_with": txn.acknowledged_with,
        "match_grade": txn.match_grade,
    }


def _tries(txn: Transaction, surroundings: Surroundings, now: Now) -> dict[str, Any]:
    seconds, at_utc = next_try(txn, now)
    return {
        "tries": txn.attempts,
        "tries_that_left": txn.tries_that_left,
        "link_failures": txn.link_failures,
        "trying_now": txn.sending,
        "last_try_utc": txn.last_try_utc,
        "last_code": txn.last_code,
        **both("last_code", response_text(surroundings.responses, txn.last_code)),
        "last_error": scrub(txn.last_error),
        "next_try_s": seconds,
        "next_try_utc": at_utc,
    }


def _origin(txn: Transaction) -> dict[str, str] | None:
    """Why it is reversed at all; None where no reversal was ever owed."""
    if txn.state not in OWED and txn.state not in (State.REVERSED, State.SETTLED):
        return None
    return {"cause": txn.cause, "reason": txn.reason, **both("text", catalogue().origin(txn.cause))}


def _last_evidence(txn: Transaction) -> dict[str, str] | None:
    if not txn.evidence:
        return None
    last = txn.evidence[-1]
    return {"at_utc": last.at_utc, "what": scrub(last.what), "detail": scrub(last.detail)}


def _closing(txn: Transaction) -> dict[str, str] | None:
    if txn.closing is None:
        return None
    closing = txn.closing
    return {
        "by": closing.by,
        "reason": scrub(closing.reason),
        "bank_reference": closing.bank_reference,
        "at_utc": closing.at_utc,
        "confirmed_by": closing.confirmed_by,
    }
