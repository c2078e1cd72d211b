"""Closing an item by hand: bound to one item, with reason, the bank's reference and a second word.

    settle ID ──▶ challenge "K7Q2-M9XD" (of item, amount, reason, reference and a nonce; kept in memory, expires)
    confirm ID K7Q2-M9XD      by another person of this machine
    confirm ID --bank-code …  with the bank's answer to the challenge (HMAC with a shared key)   ──▶ settled

Rules not to break:
1. Nothing else in the program makes a `Settle` event (a test keeps it).
2. A person is who the kernel says (peer credentials), and `sudo` does not make a second one: where the kernel knows
   who logged in, that counts too.
3. A challenge answers for one item as it was when it was asked for: it ends with a change of amount or state, with its
   time, and with `WRONG_MAX` wrong answers.
4. Asking and answering are kept with the item before anything is told.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from agent.events import Settle
from agent.lane import RefusedError
from agent.records import OWED, Transaction
from agent.rpc_socket import Peer
from protocol.frozen import dataclass

# Long enough to fetch a colleague or to call the bank, too short to lie about. Assumed.
EXPIRES_S = 900.0
WRONG_MAX = 5
# 40 bits: with five guesses in a quarter of an hour nobody finds it.
CODE_LETTERS = 8
BANK_CODE_LETTERS = 10
# Crockford's base 32: no I, L, O, U, so that it can be told over the telephone.
ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_MISREAD = str.maketrans({"I": "1", "L": "1", "O": "0", "U": "V"})
# The kernel's word for "nobody logged in" (proc(5), loginuid).
NO_LOGIN = 4_294_967_295


@dataclass(frozen=True, slots=True)
class Person:
    """Who asks or answers. `login`: the user who logged in, None where the kernel does not know."""

    name: str
    uid: int
    login: int | None = None

    def same_as(self, other: Person) -> bool:
        """Whether both are one person; rule 2."""
        return self.uid == other.uid or (self.login is not None and self.login == other.login)


@dataclass(frozen=True, slots=True)
class Challenge:
    """What was asked for. `code` is shown to the one who asked, who tells it to the second person."""

    txn_id: str
    code: str
    reason: str
    bank_reference: str
    by: Person
    until: float
    wrong: int = 0
    fingerprint: str = ""


class Closings:
    """The challenges that are open: at most one for an item; a new one replaces the old."""

    def __init__(self, now: Callable[[], float], nonce: Callable[[int], bytes] = secrets.token_bytes) -> None:
        self._now = now
        self._nonce = nonce
        self._open: dict[str, Challenge] = {}

    def ask(self, txn: Transaction, by: Person, reason: str, bank_reference: str) -> Challenge:
        """A challenge for this item. Raises RefusedError where nothing is owed."""
        _demand_owed(txn)
        seed = self._nonce(16)
        told = "\0".join((_fingerprint(txn), reason, bank_reference))
        code = _letters(hmac.digest(seed, told.encode(), "sha256"), CODE_LETTERS)
        until = self._now() + EXPIRES_S
        self._open[txn.id] = Challenge(txn.id, code, reason, bank_reference, by, until, 0, _fingerprint(txn))
        return self._open[txn.id]

    def confirm(self, txn: Transaction, by: Person, code: str) -> Settle:
        """The closing, when another person repeats the code. Raises RefusedError."""
        challenge = self._of(txn)
        if not hmac.compare_digest(_plain(code), _plain(challenge.code)):
            raise self._wrong(challenge)
        if by.same_as(challenge.by):
            hint = "another user of this machine types it; or use the bank's code (--bank-code)"
            raise RefusedError("A-SAME-PERSON", "the one who asked cannot confirm", hint)
        return self._done(challenge, f"{by.name} (uid {by.uid})")

    def confirm_with_bank(self, txn: Transaction, by: Person, bank_code: str, key: bytes) -> Settle:
        """The closing, when the bank has signed the challenge. Raises RefusedError."""
        challenge = self._of(txn)
        if not hmac.compare_digest(_plain(bank_code), bank_answer(key, txn, challenge)):
            raise self._wrong(challenge)
        return self._done(challenge, f"the bank's code, typed by {by.name} (uid {by.uid})")

    def _of(self, txn: Transaction) -> Challenge:
        challenge = self._open.get(txn.id)
        if challenge is None or challenge.until < self._now() or challenge.fingerprint != _fingerprint(txn):
            self._open.pop(txn.id, None)
            hint = f"ask for one: reversalctl settle {txn.id} --reason TEXT --bank-reference NUMBER"
            raise RefusedError("A-NO-CHALLENGE", f"no closing of {txn.id} is waiting for an answer", hint)
        _demand_owed(txn)
        return challenge

    def _wrong(self, challenge: Challenge) -> RefusedError:
        wrong = challenge.wrong + 1
        if wrong >= WRONG_MAX:
            del self._open[challenge.txn_id]
            return RefusedError("A-WRONG-CODE", f"{wrong} wrong answers: the challenge is void", "ask for a new one")
        self._open[challenge.txn_id] = replace(challenge, wrong=wrong)
        return RefusedError("A-WRONG-CODE", "the code is not the one of this item", f"{WRONG_MAX - wrong} tries left")

    def _done(self, challenge: Challenge, confirmed_by: str) -> Settle:
        del self._open[challenge.txn_id]
        by = f"{challenge.by.name} (uid {challenge.by.uid})"
        return Settle(by, challenge.reason, challenge.bank_reference, confirmed_by)


def alone(by: Person, reason: str, bank_reference: str) -> Settle:
    """The closing by one person, where the configuration allows it."""
    return Settle(f"{by.name} (uid {by.uid})", reason, bank_reference, "")


def shown(code: str) -> str:
    """A code in groups of four, as it is told and typed."""
    return "-".join(code[at : at + 4] for at in range(0, len(code), 4))


def bank_answer(key: bytes, txn: Transaction, challenge: Challenge) -> str:
    """What the bank answers to a challenge; docs/closing.md says how it computes it."""
    return _letters(hmac.digest(key, bank_text(txn, challenge).encode(), "sha256"), BANK_CODE_LETTERS)


def bank_text(txn: Transaction, challenge: Challenge) -> str:
    """The line that the bank signs: everything that it must have looked at."""
    parts = (
        *("settle", challenge.code, txn.terminal_id, txn.merchant_id, txn.batch, txn.stan),
        *(str(txn.amount_minor), txn.currency, challenge.bank_reference),
    )
    return "|".join(parts)


def person(peer: Peer, proc: Path = Path("/proc")) -> Person:
    """Who is at the other end of the socket."""
    return Person(peer.name, peer.uid, _login(peer.pid, proc))


def _login(pid: int, proc: Path) -> int | None:
    """Who logged in, also behind sudo; None where audit is not built in or the process is hidden from us."""
    try:
        login = int((proc / str(pid) / "loginuid").read_text())
    except (OSError, ValueError):
        return None
    return None if login == NO_LOGIN else login


def _demand_owed(txn: Transaction) -> None:
    if txn.state not in OWED:
        raise RefusedError("A-NOTHING-OWED", f"no reversal is owed: the item is {txn.outcome}", "nothing to do")


def _fingerprint(txn: Transaction) -> str:
    """What a challenge answers for; rule 3."""
    facts = (txn.id, txn.terminal_id, txn.batch, txn.stan, str(txn.amount_minor), txn.currency)
    return hashlib.sha256("\0".join(facts).encode()).hexdigest()


def _letters(digest: bytes, count: int) -> str:
    number = int.from_bytes(digest, "big")
    return "".join(ALPHABET[number >> 5 * place & 31] for place in range(count))


def _plain(code: str) -> str:
    """As it was meant: without dashes and blanks, letters that look like digits read as those. Only ASCII is left."""
    typed = "".join(letter for letter in code.upper() if letter.isascii() and letter.isalnum())
    return typed.translate(_MISREAD)
