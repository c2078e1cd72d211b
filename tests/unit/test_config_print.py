"""The printed configuration is complete, can be read back, and shows no secret."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from pathlib import Path

from agent.config import effective, load
from tests.unit.config_samples import GOOD, load_sample_profile, loaded

SECRET = "0123456789ABCDEF0123456789ABCDEF"


def test_what_is_printed_is_read_back_as_the_same_configuration(tmp_path: Path) -> None:
    config = loaded(tmp_path, GOOD + 'merchant_name = "咖啡 \\"x\\" \\u007f"\nheader_lines = ["a", "\\\\b"]\n')
    file = tmp_path / "printed.toml"
    file.write_text(effective(config))
    assert replace(load(file, load_sample_profile), source=config.source) == config


def test_defaults_are_printed_too(tmp_path: Path) -> None:
    table = tomllib.loads(effective(loaded(tmp_path)))
    assert table["policy"]["nobody_knows"] == "reverse"
    assert table["lane"][1]["currency"] == "156"
    assert table["journal"]["path"] == str(tmp_path / "state/journal.db")


def test_secrets_are_hidden(tmp_path: Path) -> None:
    old = 'mac = "software"'
    text = GOOD.replace(old, f'mac = "pinpad"\nmac_key = "{SECRET}"\npin_key = "{SECRET}"\npinpad = "pad"')
    printed = effective(loaded(tmp_path, text))
    assert SECRET not in printed
    assert tomllib.loads(printed)["lane"][0]["mac_key"] == "<hidden>"
    assert tomllib.loads(printed)["lane"][0]["pin_key"] == "<hidden>"
    assert tomllib.loads(printed)["lane"][1]["mac_key"] == ""
