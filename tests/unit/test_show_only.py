"""What only shows may fail: it is told, counted and left behind; what the journal says and an order to end pass."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import pytest

from agent.cli_status import trouble
from agent.journal_contract import JournalFailed
from agent.lane import RefusedError
from agent.status import StatusWriter, snapshot
from agent.status_html import render as render_page
from agent.status_text import render
from tests.unit.status_samples import MONO, PANS, StillLoop, owed, scene, show_only


def faulty(*_given: Any) -> NoReturn:
    raise ZeroDivisionError(f"divided {PANS[0]}")


def document() -> dict[str, Any]:
    return snapshot(StillLoop(owed()), scene()) | {"watch": {}}


def test_a_fault_is_counted_and_told_by_its_place_not_by_its_text(caplog: pytest.LogCaptureFixture) -> None:
    show = show_only()
    for _ in range(3):
        with show.part("page"):
            faulty()
    (fault,) = show.faults()
    assert (fault["part"], fault["count"], show.count) == ("page", 3, 3)
    assert fault["what"].startswith("ZeroDivisionError in test_show_only.py:")
    assert PANS[0] not in caplog.text + json.dumps(show.faults())
    assert sum("fault of ours" in record.getMessage() for record in caplog.records) == 1


def test_a_part_that_works_again_is_forgotten_and_said(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    show = show_only()
    with show.part("page"):
        faulty()
    with show.part("page"):
        pass
    assert show.faults() == []
    assert "page works again" in caplog.text


@pytest.mark.parametrize("error", [JournalFailed("lost", "restart"), KeyboardInterrupt(), asyncio.CancelledError()])
def test_a_journal_in_doubt_and_an_order_to_end_go_on_upwards(error: BaseException) -> None:
    show = show_only()
    with pytest.raises(type(error)), show.part("page"):
        raise error
    assert show.faults() == []


def test_a_view_that_fails_is_refused_and_a_refusal_stays_what_it_was() -> None:
    show = show_only()
    with pytest.raises(RefusedError) as caught:
        show.answering("list", faulty)()
    assert caught.value.code == "A-SHOW"
    assert PANS[0] not in caught.value.text

    def refusing() -> NoReturn:
        raise RefusedError("A-NO-ITEM", "none", "look")

    with pytest.raises(RefusedError) as caught:
        show.answering("show", refusing)()
    assert caught.value.code == "A-NO-ITEM"
    assert [fault["part"] for fault in show.faults()] == ["list"]


def test_work_beside_the_daemon_ends_quietly_too() -> None:
    show = show_only()

    async def work() -> None:
        faulty()

    asyncio.run(show.shielded("delivery", work()))
    assert [fault["part"] for fault in show.faults()] == ["delivery"]


@pytest.mark.parametrize(("part", "name"), [("text", "status.txt"), ("page", "status.html")])
def test_a_renderer_that_fails_leaves_the_old_file_and_the_other_files_new(
    tmp_path: Path, part: str, name: str
) -> None:
    broken = False

    def text(shown: Mapping[str, Any], language: str) -> str:
        return faulty() if broken and part == "text" else render(shown, language)

    def page(*given: Any) -> str:
        return faulty() if broken and part == "page" else render_page(*given)

    show = show_only()
    writer = StatusWriter(tmp_path, show, text, page)
    writer.write(document())
    writer.write_page(5.0)
    old = (tmp_path / name).read_bytes()
    broken = True
    writer.write({**document(), "pending_count": 7})
    writer.write_page(5.0)
    assert (tmp_path / name).read_bytes() == old
    assert json.loads((tmp_path / "status.json").read_text())["pending_count"] == 7
    assert [fault["part"] for fault in show.faults()] == [part]


def test_a_status_that_cannot_be_made_stays_as_old_as_it_is_and_says_why(tmp_path: Path) -> None:
    show = show_only()
    writer = StatusWriter(tmp_path, show)
    writer.write(document())
    with show.part("status"):
        faulty()
    writer.write_old(show.faults())
    writer.write_old(show.faults())
    told = json.loads((tmp_path / "status.json").read_text())
    assert told["updated_mono_s"] == document()["updated_mono_s"]
    assert [found["code"] for found in told["conditions"]].count("S-SHOW") == 1
    assert "status" in {fault["part"] for fault in told["watch"]["faults"]}
    assert "S-SHOW" not in (tmp_path / "status.txt").read_text() or "fault" in (tmp_path / "status.txt").read_text()


def test_the_command_says_that_the_agent_lives_but_cannot_tell(tmp_path: Path) -> None:
    writing = document() | {"agent": {**document()["agent"], "boot_id": "", "pid_namespace": "other"}}
    assert (silent := trouble(writing, MONO + 1e6)) is not None
    assert silent.code == "C-SILENT"
    writing["watch"] = {"faults": [{"part": "status"}]}
    assert (told := trouble(writing, MONO + 1e6)) is not None
    assert told.code == "C-SHOW"
