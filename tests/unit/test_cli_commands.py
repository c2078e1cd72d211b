"""reversalctl: what it prints, what it exits with, and that it never shows a traceback or a card number."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from agent.cli import EX_USAGE, main
from agent.lane import RefusedError
from agent.status import snapshot
from agent.status_alive import writer
from agent.status_text import columns
from tests.unit.cli_bench import Desk, run, serving
from tests.unit.status_samples import PANS, StillLoop, begun_before, evidence, owed, parked, scene, status_writer

STORY = [{"seq": 4, "at_utc": "2026-01-02T03:04:05.000Z", "event": "Begin", "state": "begun"}]
TOLD = {"text_en": "Begun: sale of CNY 12.50.", "text_zh": "消费开始。"}


def items() -> list[dict[str, Any]]:
    leaky = owed(id="main-8", last_error=f"E-LINK-TIMEOUT: {PANS[0]}", evidence=(evidence("late", PANS[1]),))
    found: list[dict[str, Any]] = snapshot(StillLoop(parked(id="main-7", last_code="57", attempts=1), leaky), scene())[
        "items"
    ]
    return found


@pytest.fixture
def desk(tmp_path: Path) -> Any:
    """An agent with two items, and the arguments that lead to it."""
    bench = Desk(items())
    bench.timeline = [{**STORY[0], **TOLD}]
    with serving(tmp_path / "s", bench.methods()):
        yield bench, ("--socket", str(tmp_path / "s"))


def dead(tmp_path: Path) -> tuple[str, ...]:
    """The arguments of an agent that is not running."""
    return ("--socket", str(tmp_path / "none"), "--status-file", str(tmp_path / "status.json"))


def written(tmp_path: Path, *pending: Any, agent: dict[str, Any] | None = None, stamp: float | None = None) -> Path:
    """A status file of this very process."""
    now = time.clock_gettime(time.CLOCK_MONOTONIC)
    document = snapshot(StillLoop(*pending), scene())
    document["agent"] |= writer() | (agent or {})
    document["updated_mono_s"] = now if stamp is None else now - stamp
    status_writer(tmp_path).write(document)
    return tmp_path / "status.json"


# --- status ---


@pytest.mark.parametrize(
    ("pending", "expected", "word"),
    [((), 0, "OK"), ((owed(),), 1, "WARNING"), ((parked(),), 2, "CRITICAL")],
    ids=["ok", "warning", "critical"],
)
def test_status_exits_as_monitoring_wants_it(tmp_path: Path, pending: Any, expected: int, word: str) -> None:
    young = tuple(txn if txn.state == "parked" else owed(begun_at_utc=begun_before(5)) for txn in pending)
    status, out, err = run("--status-file", str(written(tmp_path, *young)), "status")
    assert (status, err) == (expected, "")
    assert out.startswith(word)


@pytest.mark.parametrize(
    ("agent", "stamp", "code"),
    [({"pid": 1, "pid_started_ticks": -1}, 0, "C-DEAD"), ({"boot_id": "x"}, 0, "C-REBOOTED"), ({}, 100, "C-SILENT")],
)
def test_status_says_first_that_the_agent_is_dead(
    tmp_path: Path, agent: dict[str, Any], stamp: float, code: str
) -> None:
    file = written(tmp_path, owed(id="main-8"), agent=agent, stamp=stamp)
    status, out, _ = run("--status-file", str(file), "status")
    assert status == 2
    assert code in out.splitlines()[1]
    assert "main-8" in out
    assert "\nNext step: systemctl" in out


def test_status_as_json_tells_the_same_to_machines(tmp_path: Path) -> None:
    file = written(tmp_path, agent={"pid_started_ticks": -1})
    status, out, _ = run("--status-file", str(file), "status", "--json")
    told = json.loads(out)
    assert (status, told["reader"]["life"], told["reader"]["exit"]) == (2, "dead", 2)


def test_status_speaks_the_language_of_the_file_unless_asked(tmp_path: Path) -> None:
    file = str(written(tmp_path, parked()))
    assert run("--status-file", file, "status")[1].startswith("CRITICAL")
    assert run("status", "--status-file", file, "--language", "zh")[1].startswith("严重")


@pytest.mark.parametrize(
    ("text", "code"), [(None, "C-NO-STATUS"), ("{", "C-BAD-STATUS"), ('{"schema": 9}', "C-BAD-STATUS")]
)
def test_without_a_usable_file_the_status_is_unknown(tmp_path: Path, text: str | None, code: str) -> None:
    if text is not None:
        (tmp_path / "status.json").write_text(text)
    status, out, err = run("--status-file", str(tmp_path / "status.json"), "status")
    assert (status, out) == (3, "")
    assert err.startswith(code)
    assert len(err.splitlines()) == 2


# --- list, show, why ---


def test_list_shows_each_item_with_its_cause_and_who_acts(desk: Any) -> None:
    status, out, _ = run(*desk[1], "list")
    lines = out.splitlines()
    assert status == 0
    assert lines[1].startswith("main-7")
    assert lines[1].endswith("D-HOST-REFUSED (bank)")
    assert columns(lines[1].split("D-")[0]) == columns(lines[2].split("D-")[0])
    assert lines[-1].startswith("2 open, 2 shown")


def test_list_as_json_is_one_object_a_line(desk: Any) -> None:
    _, out, _ = run(*desk[1], "--json", "list", "--all")
    assert [json.loads(line)["id"] for line in out.splitlines()] == ["main-7", "main-8"]
    assert desk[0].asked == [("list", {"all": True})]


def test_an_empty_list_says_so_and_is_empty_for_machines(desk: Any) -> None:
    desk[0].items.clear()
    assert run(*desk[1], "list")[1] == "Nothing is open.\n"
    assert run(*desk[1], "list", "--json")[1].strip() == ""


def test_show_tells_what_the_bank_asks_for(desk: Any) -> None:
    status, out, _ = run(*desk[1], "show", "main-7")
    assert status == 0
    for part in (
        "CNY 12.50",
        "000123",
        "000017",
        "10000001",
        "102110000000001",
        "57",
        "D-HOST-REFUSED",
        "settle main-7",
    ):
        assert part in out


def test_why_tells_cause_money_evidence_next_step_and_story(desk: Any) -> None:
    _, out, _ = run(*desk[1], "why", "main-7")
    for part in (
        "Reversed because",
        "Cause:",
        "Money:",
        "Evidence:",
        "Do (bank):",
        "Type:",
        "What happened:",
        "Begun: sale of",
    ):
        assert part in out
    assert all(columns(line) <= 80 for line in out.splitlines())


def test_why_in_chinese_uses_the_words_of_the_field(desk: Any) -> None:
    _, out, _ = run(*desk[1], "--language", "zh", "why", "main-7")
    for word in ("冲正原因", "流水号", "批次号", "终端号", "商户号", "应答码", "消费开始"):
        assert word in out


def test_an_unknown_item_leads_to_the_nearest_ones(desk: Any) -> None:
    status, out, err = run(*desk[1], "show", "mian-7")
    assert (status, out) == (65, "")
    assert err.startswith("C-NO-ITEM")
    assert "main-7" in err


def test_a_reference_or_stan_given_for_an_id_leads_to_its_item(desk: Any) -> None:
    assert "main-7" in run(*desk[1], "show", "R1")[2]
    assert "main-7" in run(*desk[1], "show", "123")[2]


# --- acting ---


def test_reload_says_what_is_in_force_now_or_why_nothing_changed(tmp_path: Path) -> None:
    answers: list[Any] = [{"reloaded": "/etc/reversald/reversald.toml", "lanes": ["main", "till-2"]}]

    def reload(peer: Any, params: dict[str, Any]) -> Any:
        if answers:
            return answers.pop()
        raise RefusedError("A-RESTART", "only a restart can change agent.run_dir", "systemctl restart reversald")

    with serving(tmp_path / "s", {"agent.reload": reload}):
        line = ("--socket", str(tmp_path / "s"), "--language")
        status, out, err = run(*line, "zh", "reload")
        assert (status, out, err) == (0, "已采用新配置：/etc/reversald/reversald.toml；通道：main, till-2\n", "")
        status, out, err = run(*line, "en", "reload")
    assert (status, out) == (65, "")
    assert "agent.run_dir" in err
    assert "systemctl restart reversald" in err


def test_retry_waits_for_the_result_and_shows_it(desk: Any) -> None:
    status, out, _ = run(*desk[1], "retry", "main-8")
    assert status == 0
    assert "3" in out
    assert ("retry", {"id": "main-8"}) in desk[0].asked


def test_why_tells_tries_that_ended_alike_once_and_with_full_all_of_them(desk: Any) -> None:
    told = {"at_utc": STORY[0]["at_utc"], "state": "reversing", "text_zh": "发送"}
    bench = desk[0]
    for number in range(1, 9):
        bench.timeline.append({**told, "seq": 2 * number, "event": "Wake", "ended": "", "text_en": f"Try {number}."})
        lost = {"event": "Lost", "tries": number, "ended": "lost", "text_en": f"Nothing came of {number}."}
        bench.timeline.append({**told, "seq": 2 * number + 1, **lost})
    _, short, _ = run(*desk[1], "why", "main-7")
    _, full, _ = run(*desk[1], "why", "--full", "main-7")
    assert "Tries 2 to 7 ended as try 1 did." in short
    assert "[4-15]" in short
    assert [number for number in range(1, 9) if f"Try {number}." in short] == [1, 8]
    assert [number for number in range(1, 9) if f"Try {number}." in full] == list(range(1, 9))


@pytest.mark.parametrize(("answer", "method"), [("handed-over", "complete"), ("not-handed-over", "reverse")])
def test_decide_says_for_the_application_whether_the_sale_took_place(tmp_path: Path, answer: str, method: str) -> None:
    undecided = parked(id="main-9", undecided=True, cause="not-confirmed", reference="R9")
    bench = Desk(snapshot(StillLoop(undecided), scene())["items"])
    with serving(tmp_path / "s", bench.methods()):
        status, out, _ = run("--socket", str(tmp_path / "s"), "decide", "main-9", answer)
    assert status == 0
    assert "main-9" in out
    assert bench.asked == [(method, {"reference": "R9", "lane": "main"})]


def test_decide_changes_nothing_where_nobody_asks(desk: Any) -> None:
    status, _, err = run(*desk[1], "decide", "main-8", "handed-over")
    assert status == 65
    assert err.startswith("C-NOT-ASKED")
    assert desk[0].asked == []


def test_what_is_open_without_a_reversal_is_not_told_as_reversed(tmp_path: Path) -> None:
    undecided = parked(id="main-9", undecided=True, cause="not-confirmed")
    bench = Desk(snapshot(StillLoop(undecided), scene())["items"])
    with serving(tmp_path / "s", bench.methods()):
        for command in ("show", "why"):
            _, out, _ = run("--socket", str(tmp_path / "s"), command, "main-9")
            assert "Open because" in out
            assert "Reversed because" not in out


def test_retry_of_all_names_them(desk: Any) -> None:
    assert run(*desk[1], "retry", "--all")[1] == "main-7 main-8\n"


@pytest.mark.parametrize(
    ("arguments", "asked"),
    [
        (("hold", "main-8", "--why", "asked the bank"), ("hold", {"id": "main-8", "why": "asked the bank"})),
        (("release", "main-8"), ("release", {"id": "main-8"})),
        (("park", "main-8", "--why", "x"), ("park", {"id": "main-8", "why": "x"})),
        (
            ("confirm", "main-8", "K7Q2-M9XD"),
            ("confirm", {"id": "main-8", "code": "K7Q2-M9XD"}),
        ),
        (
            ("confirm", "main-8", "--bank-code", "ABCDE FGHJK"),
            ("confirm", {"id": "main-8", "bank_code": "ABCDE FGHJK"}),
        ),
    ],
)
def test_an_act_is_passed_on_and_the_item_shown(desk: Any, arguments: tuple[str, ...], asked: Any) -> None:
    status, out, _ = run(*desk[1], *arguments)
    assert (status, desk[0].asked[-1]) == (0, asked)
    assert out.startswith("main-8")


def test_settle_shows_the_code_and_who_can_use_it(desk: Any) -> None:
    arguments = ("settle", "main-8", "--reason", "adjusted", "--bank-reference", "B-77")
    status, out, _ = run(*desk[1], *arguments)
    assert (status, desk[0].asked[-1][1]["bank_reference"]) == (0, "B-77")
    assert "reversalctl confirm main-8 K7Q2-M9XD" in out
    assert "reversalctl confirm main-8 --bank-code" in out
    assert json.loads(run(*desk[1], "--json", *arguments)[1])["challenge"] == "K7Q2-M9XD"
    assert "尚未结案" in run(*desk[1], "--language", "zh", *arguments)[1]


def test_the_form_is_written_where_it_is_wanted(desk: Any, tmp_path: Path) -> None:
    target = tmp_path / "form.html"
    status, out, _ = run(*desk[1], "form", "main-7", "--output", str(target))
    assert (status, str(target) in out) == (0, True)
    assert "000123" in target.read_text(encoding="utf-8")
    status, _, err = run(*desk[1], "form", "main-7", "--output", str(tmp_path / "no" / "where.html"))
    assert (status, err.startswith("C-CANNOT-WRITE")) == (73, True)


def test_a_refusal_is_a_sentence_and_a_next_step(desk: Any) -> None:
    desk[0].items["main-8"]["state"] = "reversed"
    status, _, err = run(*desk[1], "hold", "main-8", "--why", "x")
    assert status == 65
    assert err.splitlines() == [
        "C-REFUSED: The agent refuses: A-NOTHING-OWED: no reversal is owed: the item is reversed",
        "  nothing to do",
    ]


@pytest.mark.parametrize("arguments", [("settle", "main-8"), ("hold", "main-8"), ("retry",), ("nonsense",), ()])
def test_a_wrong_command_line_exits_64(arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == EX_USAGE
    assert "usage: reversalctl" in capsys.readouterr().err


# --- when the agent is not there ---


@pytest.mark.parametrize("arguments", [("show", "main-8"), ("why", "main-8"), ("retry", "main-8"), ("list",)])
def test_without_an_agent_there_is_a_sentence_and_a_next_step(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    status, out, err = run(*dead(tmp_path), *arguments)
    assert (status, out) == (69, "")
    assert err.startswith("C-NO-DAEMON")
    assert "reversalctl status" in err


def test_without_an_agent_list_shows_the_last_status_file_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written(tmp_path, owed(id="main-8"))
    status, out, _ = run(*dead(tmp_path), "list")
    assert status == 69
    assert "main-8" in out
    assert capsys.readouterr().err.startswith("C-FROM-FILE")


def test_errors_for_machines_are_json_with_both_languages(tmp_path: Path) -> None:
    status, _, err = run(*dead(tmp_path), "--json", "show", "x")
    told = json.loads(err)["error"]
    assert (told["code"], told["exit"]) == ("C-NO-DAEMON", status)
    assert "未运行" in told["text_zh"] or "无应答" in told["text_zh"]


def test_something_unexpected_is_a_sentence_too(tmp_path: Path) -> None:
    file = tmp_path / "status.json"
    file.write_text('{"schema": 1}')
    status, _, err = run("--status-file", str(file), "status")
    assert status == 70
    assert err.startswith("C-INTERNAL")
    assert "Traceback" not in err


# --- secrets ---


def test_no_card_number_is_ever_printed(desk: Any, tmp_path: Path) -> None:
    file = str(written(tmp_path, parked(last_error=f"E-LINK-TIMEOUT: {PANS[0]}"), owed(id="main-8")))
    told = [run("--status-file", file, "status"), run("--status-file", file, "status", "--json")]
    for command in ("list", "show main-8", "why main-8", "retry main-8", "list --all --json", "show 6200000000000005"):
        told.append(run(*desk[1], *command.split()))
    printed = "".join(out for _, out, _ in told)
    assert [pan for pan in PANS if pan in printed] == []
