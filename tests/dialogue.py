"""A dialogue with the engine: one transaction, events in, records and effects out."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from agent.engine import decide
from agent.events import Answered, Begin, Effect, Event, Now, SendReversal
from agent.outcomes import MacVerdict
from agent.policy import Policy
from agent.records import State, Transaction
from protocol.masking import mask_pan
from protocol.matching import Match
from protocol.profile import load_profile
from protocol.requests import RequestFacts, build_request
from protocol.reversal import Learnt, freeze, identity_of

PAN = "6200000000000005"  # UnionPay's published test range
ORIGINAL = {"rrn": "000000000041", "approval_code": "123455", "batch": "000017", "stan": "000122", "date": "0102"}
STARTED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def facts(kind: str = "sale", **changes: object) -> RequestFacts:
    """A sale of 12.50 with STAN 000123 in batch 000017."""
    given: dict[str, object] = {
        "kind": kind,
        "amount_minor": 1250,
        "currency": "156",
        "stan": "000123",
        "batch": "000017",
        "terminal_id": "10000001",
        "merchant_id": "102110000000001",
        "local_date": "0102",
        "local_time": "110405",
        "transmission": "0102030405",
        "pan": PAN,
        "expiry": "3012",
        "pos_entry_mode": "021",
        "original": {} if kind in ("sale", "balance", "preauth") else ORIGINAL,
        "acquirer": "00001234",
        **changes,
    }
    return RequestFacts(**given)  # type: ignore[arg-type]


def policy(profile: str = "unionpay-pos", **changes: object) -> Policy:
    """The rules of a lane as its profile gives them."""
    loaded = load_profile(profile)
    rules = Policy(
        profile=loaded,
        retry=loaded.retry,
        terminal_id="10000001",
        confirm_timeout_s=120,
        nobody_knows="reverse",
        reply_deadline_s=90,
    )
    return replace(rules, **changes)  # type: ignore[arg-type]


def transaction(profile: str = "unionpay-pos", kind: str = "sale", **changes: object) -> Transaction:
    """A transaction that has not begun."""
    rules = load_profile(profile)
    request = build_request(rules, facts(kind))
    new = Transaction(
        id="main-1",
        lane="main",
        reference="R1",
        kind=kind,
        amount_minor=1250,
        currency="156",
        stan="000123",
        batch="000017",
        terminal_id="10000001",
        merchant_id="102110000000001",
        profile=profile,
        masked_pan=mask_pan(PAN),
        begun_at_utc="2026-01-02T03:04:05.000Z",
        on_unknown=rules.kinds[kind].on_unknown,
        confirm="by-application",
        driver="agent",
        request_identity=identity_of(request),
        frozen=freeze(request, rules, "timeout") if rules.kinds[kind].on_unknown == "reverse" else None,
    )
    return replace(new, **changes)  # type: ignore[arg-type]


def answered(
    code: str,
    to: str = "request",
    *,
    mac: MacVerdict = "valid",
    awaited: bool = True,
    accepted: bool = True,
    host: str = "h1",
) -> Answered:
    """An answer of the host as the loop hands it over."""
    match = Match(accepted, "full" if accepted else "none", () if accepted else ("amount differs",))
    learnt = Learnt(approval_code="123456", rrn="000000000042", date="0102", time="110406")
    return Answered(to, awaited, code, mac, match, learnt, f"answer {code}", host)  # type: ignore[arg-type]


class Dialogue:
    """Feeds events at a clock of its own and keeps what came out."""

    def __init__(self, record: Transaction | None = None, rules: Policy | None = None) -> None:
        self.policy = rules or policy()
        self.record = record or transaction()
        self.mono = 1000.0
        self.effects: tuple[Effect, ...] = ()

    def feed(self, event: Event, after_s: float = 0.0) -> Dialogue:
        """One event, `after_s` seconds after the last one."""
        self.mono += after_s
        now = Now(self.mono, STARTED + timedelta(seconds=self.mono - 1000))
        self.record, self.effects = decide(self.record, event, now, self.policy)
        return self

    def begun(self) -> Dialogue:
        """The intent is stored and the request is on its way."""
        return self.feed(Begin())

    @property
    def state(self) -> State:
        """Where the transaction stands."""
        return self.record.state

    @property
    def due_in_s(self) -> float | None:
        """Seconds until the record's timer."""
        return None if self.record.wake_at is None else self.record.wake_at - self.mono

    def sent(self) -> SendReversal:
        """The reversal that the last event sent."""
        (effect,) = [effect for effect in self.effects if isinstance(effect, SendReversal)]
        return effect

    def has(self, kind: type[Effect]) -> bool:
        """Whether the last event had such an effect."""
        return any(isinstance(effect, kind) for effect in self.effects)
