"""May the agent be removed from this machine? Asked by the package's maintainer scripts, also when the daemon is dead.

    removal [--config FILE]               0: nothing is pending; 1: refused, with a list in English and Chinese
    removal --although "WHO: WHY"         0 although something is pending; that is recorded in the maintenance log
    removal --running                     0: the daemon runs (it holds its journal)

Rules not to break:
1. What cannot be read is not empty: a journal that is damaged, cut or without its key refuses the removal. Where the
   key is only out of reach here, what the agent said when it ended counts, if nothing was recorded since.
2. Nothing is changed: a dead daemon's journal is read on a private copy, a running daemon is asked.
3. A broken configuration does not hide a journal: its places are found without the configuration's checks.
4. The override is written to the disk before it is granted.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from agent.cli_place import DEFAULT_CONFIGURATION
from agent.client import AgentClient, ApiError
from agent.config_schema import PROGRAM_S_MAX, Agent, Journal, Keys, Wrapping
from agent.currency import money
from agent.durable_file import append_line
from agent.journal_contract import JournalLocked
from agent.journal_image import image_of, reading
from agent.journal_open import held
from agent.key_sources import out_of_reach, wrappers
from agent.last_word import pending_at_the_end
from agent.maintenance import FILE as LOG
from agent.texts_operations import phrase
from agent.vault import Vault, VaultError
from agent.verify import walk
from protocol.errors import AgentError
from protocol.frozen import dataclass
from protocol.masking import scrub

EX_OK, EX_REFUSED = 0, 1
DEADLINE_S = 10.0
# Who and why: shorter says nothing.
REASON_MIN, REASON_MAX = 8, 200
LANGUAGES = ("en", "zh")
# From the records alone, the only table that is always up to date. With max() SQLite takes the other columns from the
# row that holds it (lang_select.html, "bare columns").
_PENDING = """
SELECT txn_id, lane, state, public, pending, max(seq) FROM record WHERE txn_id <> '' GROUP BY txn_id ORDER BY min(seq)
"""


class RemovalError(AgentError):
    """It cannot be said whether something is pending."""

    code = "E-REMOVAL"


@dataclass(frozen=True, slots=True)
class Places:
    """Where the agent keeps what counts."""

    state_dir: Path
    journal: Path
    highwater: Path
    key_file: Path
    socket: Path
    run_dir: Path
    wrappings: tuple[Wrapping, ...] = ()


@dataclass(frozen=True, slots=True)
class Owed:
    """One pending item, as it is told to whoever removes the agent."""

    id: str
    lane: str
    state: str
    amount: str
    card: str

    def line(self) -> str:
        """For a terminal."""
        return f"  {self.id}  {self.lane}  {self.amount}  {self.card or '-'}  {self.state}"


def places(configuration: Path) -> Places:
    """As agent.config finds them, but of a file that may be wrong elsewhere. Raises RemovalError."""
    table = _table(configuration)
    here = configuration.absolute().parent
    agent, journal, keys = (_section(table, name) for name in ("agent", "journal", "keys"))
    state_dir = here / agent.get("state_dir", str(Agent().state_dir))
    run_dir = here / agent.get("run_dir", str(Agent().run_dir))
    return Places(
        state_dir,
        state_dir / journal.get("path", str(Journal().path)),
        state_dir / journal.get("highwater", str(Journal().highwater)),
        state_dir / keys.get("data_key_file", str(Keys().data_key_file)),
        run_dir / agent.get("socket", str(Agent().socket)),
        run_dir,
        tuple(_wrappings(table.get("keys"), state_dir)),
    )


def _table(configuration: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(configuration.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        told = (error.strerror or "") if isinstance(error, OSError) else "it is no TOML in UTF-8"
        hint = "repair it: it says where the journal lies"
        raise RemovalError(f"{configuration} cannot be read: {told}", hint) from None


def _section(table: Mapping[str, Any], name: str) -> dict[str, str]:
    section = table.get(name)
    return {key: value for key, value in section.items() if isinstance(value, str)} if isinstance(section, dict) else {}


def _wrappings(keys: object, state_dir: Path) -> Iterator[Wrapping]:
    """The sources that can be made out; without the right one the vault does not open, and that is said."""
    tables = keys.get("wrapping") if isinstance(keys, dict) else None
    for one in tables if isinstance(tables, list) else ():
        if not isinstance(one, dict):
            continue
        match one.get("key_file"), one.get("credential"), one.get("program"):
            case str(file), None, None:
                yield Wrapping(key_file=state_dir / file)
            case None, str(name), None:
                yield Wrapping(credential=name)
            case None, None, [str(), *_] as command if all(isinstance(word, str) for word in command):
                yield Wrapping(program=tuple(command), timeout_s=_timeout_s(one))


def _timeout_s(table: Mapping[str, Any]) -> float:
    """A slow element needs the time that it has in the daemon, too; nonsense is the usual time."""
    match table.get("timeout_s"):
        case int() | float() as given if 0 < given <= PROGRAM_S_MAX:
            return float(given)
    return Wrapping().timeout_s


# --- what is pending ---------------------------------------------------------------------------


def pending(where: Places) -> list[Owed]:
    """Every pending item. Raises RemovalError where that cannot be said for sure."""
    if not where.journal.exists():
        if where.highwater.exists() or where.key_file.exists():
            raise RemovalError(f"the journal {where.journal} is missing, but there was one", "restore it, or say so")
        return []
    try:
        # The running agent first: it has the keys, also those that are out of reach here.
        return _of_the_running(where) if running(where) else _of_the_dead(where)
    except JournalLocked:
        return _of_the_running(where)
    except AgentError as error:
        raise RemovalError(error.text, error.hint) from None
    except OSError as error:
        raise RemovalError(f"{where.journal}: {error.strerror}", "run this as root") from None


def _of_the_dead(where: Places) -> list[Owed]:
    try:
        vault = Vault.open(where.key_file, wrappers(where.wrappings))
    except VaultError as error:
        return _as_told_last(where, error)
    report = walk(where.journal, vault, where.highwater)
    if not report.whole:
        told = report.problems[0].text if report.problems else "the books do not balance"
        raise RemovalError(f"the journal cannot be read whole: {told}", "reversalctl verify, then salvage")
    if not report.pending:
        return []
    with held(where.journal), image_of(where.journal) as copy, reading(copy) as connection:
        items = [_owed(*row[:4]) for row in connection.execute(_PENDING) if row[4]]
    if len(items) != report.pending:
        raise RemovalError(f"{report.pending} items are pending, and {len(items)} can be listed", "reversalctl verify")
    return items


def _as_told_last(where: Places, error: VaultError) -> list[Owed]:
    """Where the key is out of reach: a credential of the service that has just been stopped, say."""
    items = pending_at_the_end(where.run_dir, where.journal, where.highwater) if out_of_reach(where.key_file) else None
    if items is None:
        raise RemovalError(error.text, error.hint) from None
    return [_listed(one) for one in items]


def _owed(txn_id: str, lane: str, state: str, public: str) -> Owed:
    facts = json.loads(public)
    amount = money(int(facts.get("amount_minor", 0)), str(facts.get("currency", "")))
    return Owed(txn_id, lane, state, amount, str(facts.get("masked_pan", "")))


def _of_the_running(where: Places) -> list[Owed]:
    try:
        with AgentClient(where.socket, DEADLINE_S) as agent:
            items = agent.call("reversal.list", {})["items"]
    except ApiError as error:
        raise RemovalError(f"the agent runs and does not answer: {error.text}", "stop it first") from None
    return [_listed(one) for one in items]


def _listed(one: Mapping[str, Any]) -> Owed:
    return Owed(one["id"], one["lane"], one["state"], one["amount"], one["card"])


def running(where: Places) -> bool:
    """Whether a daemon holds the journal."""
    if not where.journal.exists():
        return False
    try:
        with held(where.journal):
            return False
    except JournalLocked:
        return True


# --- the override ------------------------------------------------------------------------------


def record(where: Places, reason: str, items: Sequence[Owed], doubt: str) -> None:
    """Who removed the agent although it owed, and what it owed: into the maintenance log, forced to the disk."""
    told = ", ".join(one.id for one in items) or doubt
    entry = {
        "at_utc": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "by": os.environ.get("SUDO_USER") or os.environ.get("LOGNAME") or f"uid {os.getuid()}",
        "kind": "work",
        "result": "fail",
        "text": scrub(f"removed although {len(items)} items are pending: {reason}; {told}"),
    }
    where.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    append_line(where.state_dir / LOG, json.dumps(entry, ensure_ascii=False), durable=True)
    if os.geteuid() == 0:
        owner = where.state_dir.stat()
        os.chown(where.state_dir / LOG, owner.st_uid, owner.st_gid, follow_symlinks=False)


def refusal(items: Sequence[Owed], doubt: str) -> str:
    """Why the agent stays, in both languages."""
    lines: list[str] = []
    for language in LANGUAGES:
        said = "removal-doubt" if doubt else "removal-refused"
        lines.append(phrase(said, language, count=str(len(items)), problem=doubt))
    lines += [one.line() for one in items]
    lines += [phrase("removal-what-to-do", language) for language in LANGUAGES]
    return "\n".join(lines)


def _serious(reason: str) -> bool:
    return REASON_MIN <= len(reason.strip()) <= REASON_MAX and reason.isprintable()


def main(argv: Sequence[str] | None = None) -> int:
    """The maintainer scripts' question."""
    parser = argparse.ArgumentParser(prog="removal", description="May the agent be removed from this machine?")
    parser.add_argument("--config", type=Path, default=DEFAULT_CONFIGURATION, metavar="FILE")
    parser.add_argument("--although", default="", metavar="WHO: WHY", help="allow and record it although it owes")
    parser.add_argument("--running", action="store_true", help="only say whether the daemon runs")
    options = parser.parse_args(argv)
    doubt, items = "", list[Owed]()
    try:
        where = places(options.config)
        if options.running:
            return EX_OK if running(where) else EX_REFUSED
        items = pending(where)
    except RemovalError as error:
        doubt = f"{error.text} ({error.hint})"
    if not items and not doubt:
        return EX_OK
    print(refusal(items, doubt), file=sys.stderr)
    if not options.although:
        return EX_REFUSED
    return _override(options, items, doubt)


def _override(options: argparse.Namespace, items: Sequence[Owed], doubt: str) -> int:
    reason = options.although.strip()
    if not _serious(reason):
        print(*(phrase("removal-reason", language) for language in LANGUAGES), sep="\n", file=sys.stderr)
        return EX_REFUSED
    try:
        where = places(options.config)
    except RemovalError:
        where = places(Path("/nonexistent/reversald.toml"))  # the usual places; that the file is broken is in `doubt`
    try:
        record(where, reason, items, doubt)
    except OSError as error:
        print(f"{where.state_dir / LOG}: {error.strerror}", file=sys.stderr)
        return EX_REFUSED
    print(*(phrase("removal-allowed", language, reason=reason) for language in LANGUAGES), sep="\n", file=sys.stderr)
    return EX_OK


if __name__ == "__main__":
    sys.exit(main())
