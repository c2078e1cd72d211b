"""The agent is not removed while it owes, nor while nobody can say whether it owes."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from agent import config
from agent.journal import Journal
from agent.journal_contract import Entry
from agent.key_sources import wrappers
from agent.removal import EX_OK, EX_REFUSED, RemovalError, main, pending, places, running
from agent.vault import Vault

REASON = "Zhang, shop 3: the board is scrapped"
CONFIGURATION = """
[agent]
state_dir = "state"
run_dir = "run"
socket = "s"

[journal]
path = "money.db"

[[lane]]
name = "till-1"
profile = "iso87-ascii"
terminal_id = "10000001"
merchant_id = "104110045110012"
hosts = ["192.0.2.1:5000"]
"""


def entry(number: int, state: str, *, open_: bool) -> Entry:
    public = {"amount_minor": 1250, "currency": "156", "masked_pan": "620000******0005"}
    time = "2026-11-22T12:00:00Z"
    return Entry(f"till-1-{number}", "till-1", f"R{number}", state, open_, "e", json.dumps(public), b"body", time)


class Shop:
    """A configuration and a journal that some daemon left."""

    def __init__(self, directory: Path) -> None:
        self.file = directory / "reversald.toml"
        self.file.write_text(CONFIGURATION)
        self.state = directory / "state"
        self.state.mkdir(mode=0o700)

    def open(self) -> Journal:
        vault = Vault.open_or_create(self.state / "data.key", (self.state / "money.db",))
        mark = self.state / "highwater"
        return Journal.open(self.state / "money.db", vault, mark, presize_bytes=0, reserve_bytes=0, create=True)

    def ask(self, *options: str) -> int:
        return main(["--config", str(self.file), *options])


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


def owing(shop: Shop) -> Shop:
    journal = shop.open()
    journal.append([entry(1, "reversing", open_=True), entry(2, "completed", open_=False)])
    journal.close()
    return shop


def test_the_places_are_those_of_the_configuration(shop: Shop) -> None:
    whole, found = config.load(shop.file), places(shop.file)
    assert found.state_dir == whole.agent.state_dir
    assert (found.journal, found.highwater) == (whole.journal.path, whole.journal.highwater)
    assert (found.key_file, found.socket) == (whole.keys.data_key_file, whole.agent.socket)


def test_a_configuration_that_is_wrong_elsewhere_does_not_hide_the_journal(shop: Shop) -> None:
    shop.file.write_text(CONFIGURATION.replace('"iso87-ascii"', "7") + "\nnonsense = true\n")
    assert places(shop.file).journal == shop.state / "money.db"


def test_nothing_was_ever_sold(shop: Shop) -> None:
    assert shop.ask() == EX_OK
    assert main(["--config", str(shop.file.with_name("none.toml"))]) == EX_OK


def test_what_is_pending_is_listed_in_both_languages(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    assert owing(shop).ask() == EX_REFUSED
    told = capsys.readouterr().err
    assert "1 items are pending" in told
    assert "还有 1 笔未完成" in told
    assert "till-1-1  till-1  CNY 12.50  620000******0005  reversing" in told
    assert "till-1-2" not in told


def test_nothing_is_pending_any_more(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    journal = owing(shop).open()
    journal.append([entry(1, "reversed", open_=False)])
    journal.close()
    assert shop.ask() == EX_OK
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("what", ["money.db", "data.key", "highwater"])
def test_a_missing_file_is_not_taken_for_nothing_pending(shop: Shop, what: str) -> None:
    (owing(shop).state / what).unlink()
    with pytest.raises(RemovalError):
        pending(places(shop.file))
    assert shop.ask() == EX_REFUSED


def test_a_damaged_journal_is_not_taken_for_nothing_pending(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    database = owing(shop).state / "money.db"
    body = bytearray(database.read_bytes())
    at = body.find(b"reversing")
    body[at : at + 9] = b"completed"
    database.write_bytes(body)
    assert shop.ask() == EX_REFUSED
    assert "nobody can say what is pending" in capsys.readouterr().err


def test_a_configuration_that_cannot_be_read_refuses(shop: Shop) -> None:
    owing(shop).file.write_text("[agent")
    assert shop.ask() == EX_REFUSED


def test_an_override_is_recorded_before_it_is_granted(shop: Shop) -> None:
    assert owing(shop).ask("--although", REASON) == EX_OK
    log = shop.state / "maintenance.jsonl"
    (line,) = log.read_text().splitlines()
    told = json.loads(line)
    assert REASON in told["text"]
    assert "till-1-1" in told["text"]
    assert stat.S_IMODE(log.stat().st_mode) == 0o600


def test_an_override_is_recorded_behind_a_line_that_a_power_cut_has_torn(shop: Shop) -> None:
    (owing(shop).state / "maintenance.jsonl").write_text('{"at_utc": "2026-')
    assert shop.ask("--although", REASON) == EX_OK
    *_, line = (shop.state / "maintenance.jsonl").read_text().splitlines()
    assert REASON in json.loads(line)["text"]


def test_an_override_that_cannot_be_recorded_is_not_granted(shop: Shop) -> None:
    (owing(shop).state / "maintenance.jsonl").mkdir()
    assert shop.ask("--although", REASON) == EX_REFUSED


@pytest.mark.parametrize("reason", ["no", "x" * 300, "two\nlines of text"])
def test_an_override_says_who_and_why(shop: Shop, reason: str) -> None:
    assert owing(shop).ask("--although", reason) == EX_REFUSED
    assert not (shop.state / "maintenance.jsonl").exists()


def test_an_override_never_shows_a_card_number(shop: Shop) -> None:
    assert owing(shop).ask("--although", "Zhang: card 6200000000000005 was refunded") == EX_OK
    assert "6200000000000005" not in (shop.state / "maintenance.jsonl").read_text()


def test_a_running_daemon_is_noticed_and_refuses_where_it_does_not_answer(shop: Shop) -> None:
    journal = owing(shop).open()
    assert running(places(shop.file))
    assert shop.ask("--running") == EX_OK
    assert shop.ask() == EX_REFUSED
    journal.close()
    assert shop.ask("--running") == EX_REFUSED


def test_asking_changes_nothing(shop: Shop) -> None:
    owing(shop)
    before = {path: path.read_bytes() for path in shop.state.iterdir() if path.suffix != ".lock"}
    shop.ask()
    assert {path: path.read_bytes() for path in shop.state.iterdir() if path.suffix != ".lock"} == before


# --- with keys that are out of reach -----------------------------------------------------------


AS_ASKED = {"reason": ""}
HEAD = 2  # the number of the newest record


def wrapped_away(shop: Shop, *, pending_count: int, head_seq: int, stopped: object) -> Shop:
    """A journal under a wrapping key whose medium was taken out, and what the agent said last."""
    file = shop.file.parent / "wrapping.key"
    file.write_bytes(bytes(range(32)))
    file.chmod(0o600)
    text = shop.file.read_text() + f'\n[[keys.wrapping]]\nkey_file = "{file}"\n'
    shop.file.write_text(text)
    owing(shop)
    vault = Vault.open(shop.state / "data.key", wrappers(config.load(shop.file).keys.wrappings))
    vault.wrap()
    items = [{"id": "till-1-1", "lane": "till-1", "state": "reversing", "amount": "CNY 12.50", "card": "6200**0005"}]
    told = {"stopped": stopped, "pending_count": pending_count, "items": items[:pending_count]}
    run_dir = shop.file.parent / "run"
    run_dir.mkdir()
    (run_dir / "status.json").write_text(json.dumps({**told, "store": {"head_seq": head_seq}}))
    return shop


def away(shop: Shop) -> Shop:
    (shop.file.parent / "wrapping.key").unlink()
    return shop


def test_keys_that_are_wrapped_are_opened_as_the_configuration_says(shop: Shop) -> None:
    there = wrapped_away(shop, pending_count=0, head_seq=HEAD, stopped=AS_ASKED)
    assert places(there.file).wrappings == config.load(there.file).keys.wrappings
    assert [one.id for one in pending(places(there.file))] == ["till-1-1"], "the journal itself is read where it can be"


def test_where_the_key_is_out_of_reach_the_agents_last_word_counts(shop: Shop) -> None:
    assert away(wrapped_away(shop, pending_count=0, head_seq=HEAD, stopped=AS_ASKED)).ask() == EX_OK


def test_the_last_word_lists_what_is_pending(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    assert away(wrapped_away(shop, pending_count=1, head_seq=HEAD, stopped=AS_ASKED)).ask() == EX_REFUSED
    assert "till-1-1  till-1  CNY 12.50  6200**0005  reversing" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("head_seq", "stopped", "count"),
    [(1, AS_ASKED, 0), (3, AS_ASKED, 0), (HEAD, None, 0), (HEAD, {"reason": "E-JOURNAL"}, 0), (HEAD, AS_ASKED, 2)],
    ids=["recorded-since", "of-another-journal", "killed", "in-doubt", "not-all-listed"],
)
def test_a_word_that_may_not_be_the_last_counts_for_nothing(
    shop: Shop, head_seq: int, stopped: object, count: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert away(wrapped_away(shop, pending_count=count, head_seq=head_seq, stopped=stopped)).ask() == EX_REFUSED
    assert "wrapping.key cannot be read" in capsys.readouterr().err


def test_no_word_at_all_counts_for_nothing(shop: Shop) -> None:
    alone = away(wrapped_away(shop, pending_count=0, head_seq=HEAD, stopped=AS_ASKED))
    (alone.file.parent / "run" / "status.json").write_text("{")
    assert alone.ask() == EX_REFUSED
    (alone.file.parent / "run" / "status.json").unlink()
    assert alone.ask() == EX_REFUSED


def test_a_key_in_clear_that_is_missing_is_not_out_of_reach(shop: Shop) -> None:
    """It is lost: what the agent said does not make up for that."""
    lost = wrapped_away(shop, pending_count=0, head_seq=HEAD, stopped=AS_ASKED)
    (lost.state / "data.key").unlink()
    assert lost.ask() == EX_REFUSED


@pytest.mark.parametrize(
    ("given", "found_s"),
    [("timeout_s = 12", 12.0), ("timeout_s = 0.5", 0.5), ("", 5.0), ("timeout_s = 31", 5.0), ('timeout_s = "x"', 5.0)],
)
def test_a_program_has_the_time_that_it_has_in_the_daemon(shop: Shop, given: str, found_s: float) -> None:
    shop.file.write_text(f'{CONFIGURATION}\n[[keys.wrapping]]\nprogram = ["/bin/element"]\n{given}\n')
    assert [one.timeout_s for one in places(shop.file).wrappings] == [found_s]


@pytest.mark.parametrize(
    "tables",
    [
        '[keys]\nwrapping = "no table"',
        "[[keys.wrapping]]\nkey_file = 7",
        "[[keys.wrapping]]\nprogram = []",
        '[[keys.wrapping]]\nprogram = ["x", 7]',
        '[[keys.wrapping]]\ncredential = "a"\nkey_file = "b"',
        'keys = "no table"',
    ],
)
def test_a_source_that_cannot_be_made_out_does_not_hide_the_journal(shop: Shop, tables: str) -> None:
    shop.file.write_text(tables + "\n" + CONFIGURATION if tables.startswith("keys") else CONFIGURATION + tables)
    found = places(shop.file)
    assert (found.journal, found.wrappings) == (shop.state / "money.db", ())
