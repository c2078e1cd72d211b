"""`reversalctl explain`, `profile` and `replay`: output, exit status, no traceback, no card data."""

from __future__ import annotations

import argparse
import io
import json
import sys
from pathlib import Path

import pytest

from agent.cli_protocol import add_commands
from agent.examples import TEST_CARD, examples
from protocol.profile import load_profile
from tests.unit.capture_files import ethernet, ipv4, pcap, tcp

SALE = {case.name: case for case in examples(load_profile("unionpay-pos"))}["sale"].frame


def _run(*arguments: str) -> int:
    parser = argparse.ArgumentParser("reversalctl")
    add_commands(parser.add_subparsers(required=True))
    options = parser.parse_args([*arguments, "--language", "en"] if "--language" not in arguments else arguments)
    status: int = options.run(options)
    return status


def test_a_dump_as_argument_is_explained_by_the_best_profile(capsys: pytest.CaptureFixture[str]) -> None:
    assert _run("explain", SALE.hex()) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("profile unionpay-pos")
    assert "iso87-ascii    does not fit" in shown
    assert TEST_CARD not in shown


def test_a_dump_in_several_arguments_is_one_dump(capsys: pytest.CaptureFixture[str]) -> None:
    assert _run("explain", "--profile", "unionpay-pos", *SALE.hex(" ").split()) == 0
    assert "F3 processing code  000000" in capsys.readouterr().out


@pytest.mark.parametrize("content", [SALE.hex().encode(), SALE])
def test_a_file_with_a_dump_or_with_the_message_itself_is_read(
    content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "dump").write_bytes(content)
    assert _run("explain", str(tmp_path / "dump"), "--json") == 0
    assert json.loads(capsys.readouterr().out)["fields"]["11"] == "000123"


def test_standard_input_is_read(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(SALE.hex(" ").encode())))
    assert _run("explain", "-", "--language", "zh") == 0
    assert "交易金额" in capsys.readouterr().out


def test_json_is_exactly_one_object_with_masked_fields(capsys: pytest.CaptureFixture[str]) -> None:
    assert _run("explain", SALE.hex(), "--json", "--profile", "unionpay-pos") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["profile"], told["mti"]) == ("unionpay-pos", "0200")
    assert told["fields"]["2"] == "620000******0005"


def test_a_damaged_message_ends_with_65_in_text_and_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    damaged = SALE[:-3].hex()
    assert _run("explain", damaged, "--profile", "unionpay-pos") == 65
    assert "DAMAGED at byte 0" in capsys.readouterr().out
    assert _run("explain", damaged, "--profile", "unionpay-pos", "--json") == 65
    told = json.loads(capsys.readouterr().out)
    assert list(told) == ["error"]
    assert told["error"]["decoded"]["fields"]["11"] == "000123"


WRONG = {
    ("explain",): 64,
    ("explain", "xyz"): 65,
    ("explain", "/no/such/file"): 66,
    ("explain", "00", "--profile", "nobody"): 78,
    ("profile", "check", "/no/such/profile.toml"): 78,
    ("profile", "examples", "nobody"): 78,
    ("profile", "examples", "iso93", "--out", "/dev/null/kit"): 73,
    ("replay", "/no/such/file", "--profile", "iso93"): 66,
    ("replay", "/dev/null", "--profile", "iso93"): 65,
}


@pytest.mark.parametrize("arguments", WRONG)
@pytest.mark.parametrize("language", ["en", "zh"])
def test_what_cannot_be_done_is_a_sentence_and_an_exit_status(
    arguments: tuple[str, ...], language: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(*arguments, "--language", language) == WRONG[arguments]
    shown = capsys.readouterr()
    assert shown.err or shown.out
    assert "Traceback" not in shown.err


@pytest.mark.parametrize("arguments", WRONG)
def test_what_cannot_be_done_is_one_object_for_machines(
    arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(*arguments, "--json") == WRONG[arguments]
    told = json.loads(capsys.readouterr().out)
    assert "error" in told or told["errors"]


def test_profiles_are_checked_listed_and_printed_as_kits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bank.toml").write_text('extends = "iso93"\ntitle = "Our bank"\n', "utf-8")
    assert _run("profile", "check", str(tmp_path / "bank.toml")) == 0
    assert "no errors" in capsys.readouterr().out
    assert _run("profile", "list", "--profile-dir", str(tmp_path)) == 0
    assert "Our bank" in capsys.readouterr().out
    assert _run("profile", "examples", "bank", "--profile-dir", str(tmp_path), "--json") == 0
    assert json.loads(capsys.readouterr().out)["profile"] == "bank"
    assert _run("profile", "examples", "bank", "--profile-dir", str(tmp_path), "--out", str(tmp_path / "kit")) == 0
    assert (tmp_path / "kit" / "kit.json").is_file()


def test_a_profile_of_a_directory_takes_part_in_auto(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bank.toml").write_text('extends = "unionpay-pos"\n[envelope]\ntpdu = "6099990000"\n', "utf-8")
    (tmp_path / "broken.toml").write_text("= ", "utf-8")
    frame = SALE[:2] + bytes.fromhex("6099990000") + SALE[7:]
    assert _run("explain", frame.hex(), "--profile-dir", str(tmp_path), "--json") == 0
    assert json.loads(capsys.readouterr().out)["profile"] == "bank"


def test_a_capture_is_replayed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    packet = ethernet(ipv4("10.0.0.5", "10.0.0.9", tcp(50000, 8583, 1, SALE)))
    (tmp_path / "talk.pcap").write_bytes(pcap([(1.0, packet)]))
    assert _run("replay", str(tmp_path / "talk.pcap"), "--profile", "unionpay-pos") == 0
    shown = capsys.readouterr().out
    assert "=== 10.0.0.5:50000 - 10.0.0.9:8583" in shown
    assert "terminal --0200--> host" in shown
    assert TEST_CARD not in shown


def test_a_conversation_as_text_is_replayed_as_json_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "talk.txt").write_text(f"10:00:00 > {SALE.hex()}\n", "utf-8")
    assert _run("replay", str(tmp_path / "talk.txt"), "--profile", "unionpay-pos", "--json") == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["state"] for row in rows] == ["begun", "begun"]
