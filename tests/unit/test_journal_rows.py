"""Reading the journal page by page while it is in use: every record once, nothing secret."""

from __future__ import annotations

import io
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from agent import reconciliation
from agent.cli_place import CommandError
from agent.journal_archive import archive_path
from agent.journal_archiving import Window
from agent.journal_rows import ROWS_MAX, row_of
from agent.journal_source import Records
from agent.progress import EVERY_S, Progress
from agent.report_stories import read
from tests.journal_scenes import SECRET, Home, entry, sale
from tests.report_scenes import SILENCE, Shop, bad_week
from tests.unit.status_samples import PANS

PUBLIC = '{"amount_minor":100,"batch":"7","currency":"156"}'


class Agent:
    """A command line whose agent runs: it writes on while it is read."""

    language = "en"

    def __init__(self, journal: Any, limit: int, more: int = 0) -> None:
        self.place = SimpleNamespace()
        self._journal = journal
        self._limit = limit
        self._more = more
        self.pages = 0

    def call(self, method: str, **params: Any) -> Any:
        assert method == "journal.rows"
        self.pages += 1
        page = json.loads(json.dumps(self._journal.rows(params["after"], self._limit)))
        if self._more:
            self._more -= 1
            self._journal.append([entry(f"late-{self.pages}")])
        return page

    def print(self, text: str) -> None:
        raise AssertionError("nothing is printed here")


def test_pages_together_are_the_whole_journal_and_hold_no_secret(tmp_path: Path) -> None:
    home = Home(tmp_path)
    journal = home.open()
    for number in range(5):
        sale(journal, f"t-{number}", "begun", "reversing", "reversed")
    journal.append([], {"stan:main": 7})
    agent = Agent(journal, limit=4)
    found = list(Records(agent, None))
    assert [row.seq for row in found if row] == list(range(1, 17))
    assert agent.pages == 4
    assert SECRET not in json.dumps(journal.rows(0, 100)).encode()
    journal.close()
    assert found == list(Records(agent, home.path))


def test_what_is_written_meanwhile_belongs_to_the_next_report(tmp_path: Path) -> None:
    journal = Home(tmp_path).open()
    sale(journal, "a", "begun", "reversing")
    assert [row.txn_id for row in Records(Agent(journal, limit=1, more=9), None) if row] == ["a", "a"]
    journal.close()


def test_a_page_is_bounded_and_a_place_behind_the_end_is_empty(tmp_path: Path) -> None:
    journal = Home(tmp_path).open()
    journal.append([entry(f"t-{number}") for number in range(ROWS_MAX + 5)])
    assert len(journal.rows(0, 10**9)["rows"]) == ROWS_MAX
    assert len(journal.rows(0, -3)["rows"]) == 1
    beyond = journal.rows(10**6, 5)
    assert (beyond["rows"], beyond["unreadable"]) == ([], [])
    journal.close()


def test_an_agent_that_does_not_run_is_read_from_its_files_and_one_that_refuses_is_not(tmp_path: Path) -> None:
    def refusing(code: str) -> Any:
        def call(method: str, **params: Any) -> Any:
            raise CommandError(code, path="x", problem="x", hint="x")

        return SimpleNamespace(
            call=call, language="en", place=SimpleNamespace(configuration_file=tmp_path / "none.toml")
        )

    with pytest.raises(CommandError):
        list(Records(refusing("C-REFUSED"), None))
    with pytest.raises(Exception, match=r"none\.toml"):  # it goes on to the configuration that names the journal
        list(Records(refusing("C-NO-DAEMON"), None))


def test_a_reconciliation_has_every_transaction_of_a_journal_however_long(tmp_path: Path) -> None:
    shop = bad_week()
    journal = shop.journal(tmp_path).open()
    found, unreadable = reconciliation.latest(Records(Agent(journal, limit=3), None))
    journal.close()
    stories = read(shop.rows).stories
    assert unreadable == 0
    assert {one["id"] for one in found} == set(stories)
    for one in reconciliation.rows(found):
        assert one["kind"] == reconciliation.kind_of({"state": str(stories[one["id"]].txn.state)})
        assert set(one) == set(reconciliation.COLUMNS)
        assert one["card"] in ("", stories[one["id"]].txn.masked_pan)
    assert not any(pan in json.dumps(found) for pan in PANS)


def test_records_of_sessions_are_no_transactions_and_no_damage() -> None:
    shop = Shop()
    txn_id = shop.begin()
    shop.feed(txn_id, SILENCE)
    session = row_of({**page_row(shop), "txn_id": "session:main", "public": "{}", "seq": 99})
    assert read([*shop.rows, session]).unreadable == 0
    found, unreadable = reconciliation.latest([*shop.rows, session, None])
    assert ([one["id"] for one in found], unreadable) == ([txn_id], 1)


def page_row(shop: Shop) -> dict[str, Any]:
    return {name: getattr(shop.rows[-1], name) for name in type(shop.rows[-1]).__slots__}


class Screen(io.StringIO):
    def __init__(self, *, terminal: bool) -> None:
        super().__init__()
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal


@pytest.mark.parametrize("terminal", [True, False])
def test_progress_stands_on_one_line_of_a_terminal_and_nowhere_else(terminal: bool) -> None:
    now = 0.0
    screen = Screen(terminal=terminal)
    progress = Progress(screen, lambda done, total: f"{done} of {total}", lambda: now)
    progress.at(1, 1000)
    now = EVERY_S
    progress.at(500, 1000)
    progress.at(501, 1000)
    now = 2 * EVERY_S
    progress.at(9, 1000)
    progress.end()
    assert screen.getvalue() == ("\r500 of 1000\r9 of 1000  \r         \r" if terminal else "")


@pytest.mark.parametrize("at_hand", [True, False])
def test_what_is_archived_is_read_from_the_archive_or_counted_as_absent(tmp_path: Path, at_hand: bool) -> None:
    home = Home(tmp_path)
    journal = home.open()
    for number in range(4):
        for state in ("begun", "completed"):
            one = entry(f"t-{number}", state, state == "begun", at_utc="2026-01-01T00:00:00Z", public=PUBLIC)
            journal.append([one])
    sale(journal, "open", "begun", "reversing")
    window = Window("2026-02-01T00:00:00Z", "2026-03-06T00:00:00Z")
    while journal.archive(window, "2026-03-05T00:00:00Z") is not None:
        pass
    if not at_hand:
        archive_path(home.path).rename(tmp_path / "away")
    source = Records(Agent(journal, limit=3), None)
    found = [row.seq for row in source if row]
    gone = 0 if at_hand else 8
    assert journal.archived_upto >= 8
    assert (found[0], found[-1], source.absent) == (gone + 1, journal.rows(0, 1)["head"], gone)
    assert found == sorted(set(found))
    journal.close()
