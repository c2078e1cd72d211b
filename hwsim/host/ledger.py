"""The host's money ledger: what was charged, what was undone, and what a right agent never does.

Rules not to break:
1. One entry for each original request, found by its key (terminal, batch, STAN, merchant). `batch` is the
   batch number where the dialect has one, else the transmission or local time that names the original.
2. A request charges at most once and a reversal undoes at most once, however often either arrives.
3. A reversal of an unknown original is remembered; where the host blocks, the late original is refused.
4. A reversal with another amount, card, currency or processing code is refused and has no effect.
5. No card number is kept: a salted hash to compare, first six and last four digits to show.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from threading import RLock

from hwsim.host.codec import mask_card
from hwsim.host.entries import (
    HOLD_SIGN,
    MONEY_SIGN,
    Entry,
    Facts,
    Key,
    LedgerRules,
    State,
    TerminalState,
    Verdict,
    Violation,
)
from hwsim.host.notices import Notice
from protocol.errors import AgentError


class LedgerError(AgentError):
    """The ledger file cannot be read or written."""

    code = "E-HOST-LEDGER"


class Ledger:
    """Thread-safe; with `path`, every change is written to that JSON file, and read back at the start."""

    def __init__(self, rules: LedgerRules | None = None, path: Path | str | None = None) -> None:
        self.rules = rules or LedgerRules()
        self._path = Path(path) if path else None
        self._lock = RLock()
        self._entries: dict[Key, Entry] = {}
        self._violations: list[Violation] = []
        self._salt = secrets.token_hex(16)
        self._numbers: Counter[str] = Counter()
        self._terminals: dict[str, TerminalState] = {}
        self._notices: list[Notice] = []
        if self._path and self._path.exists():
            self._load(self._path)

    # -- what is asked

    def rows(self) -> list[Entry]:
        """Copies of all entries, in order of arrival."""
        with self._lock:
            return [entry.copy() for entry in self._entries.values()]

    def find(self, stan: str, terminal: str = "", batch: str = "") -> Entry | None:
        """The newest entry with this STAN (and terminal and batch where given)."""
        wanted = [
            entry
            for entry in self.rows()
            if entry.key.stan == stan and terminal in ("", entry.key.terminal) and batch in ("", entry.key.batch)
        ]
        return wanted[-1] if wanted else None

    def net(self) -> dict[str, int]:
        """Money taken from cardholders by currency, in minor units; 0 when all is undone."""
        return self._sum(lambda entry: entry.net_minor)

    def held(self) -> dict[str, int]:
        """Money held by pre-authorisations, by currency."""
        return self._sum(lambda entry: entry.held_minor)

    def violations(self) -> list[Violation]:
        with self._lock:
            doubled = [
                Violation(
                    "two-effects", str(entry.key), f"{entry.charges} charges, {entry.effects} effects of reversals"
                )
                for entry in self._entries.values()
                if entry.charges > 1 or entry.effects > 1
            ]
            return [*self._violations, *doubled]

    def totals(self, terminal: str, batch: str) -> tuple[int, int, int, int]:
        """(debit minor, debit count, credit minor, credit count) of a terminal's batch, reversed ones left out."""
        mine = [entry for entry in self.rows() if (entry.key.terminal, entry.key.batch) == (terminal, batch)]
        debits = [entry.net_minor for entry in mine if entry.net_minor > 0]
        credits_ = [-entry.net_minor for entry in mine if entry.net_minor < 0]
        return sum(debits), len(debits), sum(credits_), len(credits_)

    # -- what happens

    def charge(self, facts: Facts, decline: str = "") -> Verdict:
        """A request arrives. `decline`: the code to decline it with; '' approves."""
        with self._lock:
            entry = self._entries.get(facts.key)
            if entry is None:
                return self._done(self._first_request(facts, decline))
            entry.requests += 1
            if not entry.seen_original:
                return self._done(self._late_original(entry, facts, decline))
            return self._done(self._again(entry, facts))

    def reverse(self, facts: Facts, refuse: str = "") -> Verdict:
        """A reversal arrives. `refuse`: the code to refuse it with, without any effect."""
        with self._lock:
            entry = self._entries.get(facts.key) or self._unknown_original(facts)
            self._count_reversal(entry, facts)
            self._watch_reversal(entry, facts)
            code = refuse or self._difference(entry, facts)
            if code:
                entry.refused_reversals += 1
                return self._done(Verdict(code, entry))
            return self._done(Verdict(self._undo(entry, facts), entry))

    def accuse(self, name: str, key: str, text: str) -> None:
        """Record a violation that was seen outside the ledger (a damaged message)."""
        with self._lock:
            self._violations.append(Violation(name, key, text))
            self._save()

    def notices(self) -> list[Notice]:
        """Script results and uploads, in order of their first arrival."""
        with self._lock:
            return list(self._notices)

    def notice(self, notice: Notice) -> None:
        """One arrives; the same message again (same terminal, batch and STAN) is a repetition."""
        with self._lock:
            same = [one for one in self._notices if one.terminal == notice.terminal and one.mti == notice.mti]
            if any((one.stan, one.batch) == (notice.stan, notice.batch) for one in same):
                return
            for twice in {told for one in same for told in one.told()} & set(notice.told()):
                self._violations.append(Violation("told-twice", f"terminal {notice.terminal}", twice))
            self._notices.append(notice)
            self._save()

    def number(self, name: str) -> int:
        """The next number of a series (rrn, approval, ...), kept over restarts."""
        with self._lock:
            self._numbers[name] += 1
            self._save()
            return self._numbers[name]

    def terminal(self, terminal: str) -> TerminalState:
        with self._lock:
            return replace(self._terminals.setdefault(terminal, TerminalState()))

    def keep_terminal(self, terminal: str, state: TerminalState) -> None:
        with self._lock:
            self._terminals[terminal] = replace(state)
            self._save()

    # -- requests

    def _first_request(self, facts: Facts, decline: str) -> Verdict:
        entry = self._entry(facts, "declined")
        entry.requests = 1
        self._entries[facts.key] = entry
        return self._decide(entry, facts, decline)

    def _decide(self, entry: Entry, facts: Facts, decline: str) -> Verdict:
        entry.seen_original = True
        entry.request_print = self._print(facts)
        entry.rrn, entry.code = self._rrn(), decline or "00"
        if decline:
            entry.state = "declined"
            return Verdict(decline, entry)
        entry.approval_code = f"{self._next('approval') % 1_000_000:06d}"
        moves = facts.kind in MONEY_SIGN or facts.kind in HOLD_SIGN
        entry.state = "charged" if moves else "approved"
        entry.charges += 1 if moves else 0
        return Verdict("00", entry)

    def _late_original(self, entry: Entry, facts: Facts, decline: str) -> Verdict:
        """The reversal has overtaken its original, which arrives now."""
        entry.kind, entry.mti, entry.processing_code = facts.kind, facts.mti, facts.processing_code
        entry.amount_minor, entry.currency = facts.amount_minor, facts.currency
        if self.rules.block_late_original:
            entry.state, entry.code, entry.seen_original = "blocked", self.rules.late_original, True
            entry.request_print = self._print(facts)
            return Verdict(self.rules.late_original, entry)
        return self._decide(entry, facts, decline)

    def _again(self, entry: Entry, facts: Facts) -> Verdict:
        """A second request under a known key: never a second charge."""
        changed = _changed(entry.request_print, self._print(facts))
        if changed:
            self._violate("stan-reused", entry, f"another request under the same key, elements {changed} differ")
            return Verdict("94", entry)
        if facts.mti[2] == "0":
            self._violate("request-sent-again", entry, f"{facts.mti} arrived {entry.requests} times")
        if entry.state in ("reversed", "blocked"):
            return Verdict(self.rules.late_original, entry)
        return Verdict(entry.code if self.rules.duplicate == "same" else "94", entry)

    # -- reversals

    def _unknown_original(self, facts: Facts) -> Entry:
        entry = self._entry(facts, "blocked" if self.rules.block_late_original else "unknown")
        entry.seen_original = False
        self._entries[facts.key] = entry
        return entry

    def _count_reversal(self, entry: Entry, facts: Facts) -> None:
        if facts.repeat:
            entry.repeats += 1
            entry.repeats_unseen += 0 if entry.reversal_print else 1
            return
        entry.reversals += 1
        if self.rules.repeats_are_marked and entry.reversal_print:
            self._violate("first-sent-again", entry, f"{facts.mti} arrived again without saying that it repeats")

    def _watch_reversal(self, entry: Entry, facts: Facts) -> None:
        """The identity of a reversal is fixed once: a later try that says something else is a defect."""
        now = self._print(facts)
        changed = _changed(entry.reversal_print, now) if entry.reversal_print else []
        if changed:
            self._violate("reversal-changed", entry, f"elements {changed} differ from the first reversal")
        entry.reversal_print = entry.reversal_print or now

    def _difference(self, entry: Entry, facts: Facts) -> str:
        """The refusal code of a reversal that does not belong to its original; '' when it does."""
        card_hash = self._hash(facts.card)
        for name, code, differs in (
            ("amount", self.rules.amount_wrong, facts.amount_minor != entry.amount_minor),
            ("card", self.rules.card_wrong, bool(card_hash and entry.card_hash and card_hash != entry.card_hash)),
            ("currency", self.rules.other_wrong, bool(facts.currency) and facts.currency != entry.currency),
            ("processing code", self.rules.other_wrong, facts.processing_code != entry.processing_code),
        ):
            if differs:
                self._violate("reversal-mismatch", entry, f"{name} is not the original's")
                return code
        return ""

    def _undo(self, entry: Entry, facts: Facts) -> str:
        if not entry.seen_original:
            return self.rules.unknown_reversal
        if entry.state == "charged":
            entry.state, entry.effects = "reversed", entry.effects + 1
            entry.undone_minor = entry.amount_minor - facts.standing_minor
        elif entry.state == "approved":
            entry.state = "reversed"
        entry.reversal_rrn = entry.reversal_rrn or self._rrn()
        return "00"

    # -- bookkeeping

    def _entry(self, facts: Facts, state: State) -> Entry:
        return Entry(
            facts.key,
            facts.kind,
            facts.mti,
            facts.processing_code,
            facts.amount_minor,
            facts.currency,
            mask_card(facts.card),
            self._hash(facts.card),
            state,
            facts.at,
        )

    def _done(self, verdict: Verdict) -> Verdict:
        self._save()
        return replace(verdict, entry=verdict.entry.copy())

    def _violate(self, name: str, entry: Entry, text: str) -> None:
        self._violations.append(Violation(name, str(entry.key), text))

    def _sum(self, part: Callable[[Entry], int]) -> dict[str, int]:
        sums: Counter[str] = Counter()
        for entry in self.rows():
            sums[entry.currency] += part(entry)
        return dict(sums)

    def _next(self, name: str) -> int:
        self._numbers[name] += 1
        return self._numbers[name]

    def _rrn(self) -> str:
        return f"{self._next('rrn'):012d}"

    def _hash(self, text: str) -> str:
        digest = hmac.new(self._salt.encode("ascii"), text.encode("utf-8"), hashlib.sha256)
        return digest.hexdigest()[:16] if text else ""

    def _print(self, facts: Facts) -> dict[str, str]:
        """Salted hashes of the elements that must not change; text keys, because the file is JSON."""
        return {str(number): self._hash(value) for number, value in facts.elements.items()}

    def _save(self) -> None:
        """Whole file, replaced at once. Not synced: it outlives the process, not a power cut of the bench."""
        if self._path is None:
            return
        image = {
            "version": 1,
            "salt": self._salt,
            "numbers": self._numbers,
            "terminals": {name: asdict(state) for name, state in self._terminals.items()},
            "violations": [asdict(violation) for violation in self._violations],
            "entries": [asdict(entry) for entry in self._entries.values()],
            "notices": [asdict(notice) for notice in self._notices],
        }
        fresh = self._path.with_name(self._path.name + ".new")
        try:
            fresh.write_text(json.dumps(image), encoding="utf-8")
            os.replace(fresh, self._path)
        except OSError as error:
            raise LedgerError(f"cannot write {self._path}: {error.strerror}", "check the directory") from error

    def _load(self, path: Path) -> None:
        try:
            image = json.loads(path.read_text(encoding="utf-8"))
            self._salt = image["salt"]
            self._numbers = Counter(image["numbers"])
            self._terminals = {name: TerminalState(**state) for name, state in image["terminals"].items()}
            self._violations = [Violation(**violation) for violation in image["violations"]]
            self._notices = [Notice(**notice) for notice in image.get("notices", ())]
            entries = [Entry(**{**entry, "key": Key(**entry["key"])}) for entry in image["entries"]]
        except (OSError, ValueError, KeyError, TypeError) as error:
            hint = "move the file away to start with an empty ledger"
            raise LedgerError(f"cannot read {path}: {type(error).__name__}", hint) from error
        self._entries = {entry.key: entry for entry in entries}


def _changed(before: Mapping[str, str], now: Mapping[str, str]) -> list[int]:
    return sorted(int(number) for number in {*before, *now} if before.get(number) != now.get(number))
