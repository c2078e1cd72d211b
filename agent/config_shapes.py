"""Shapes of values that several sections of the configuration share, and where relative paths begin."""

from __future__ import annotations

NAME = r"[a-z0-9][a-z0-9_-]{0,31}"
NAME_SHAPE = "1 to 32 of a-z, 0-9, _ and -, e.g. till-1"
NO_NAME_OR = rf"(?:{NAME})?"
HOST = r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]{1,253}):[0-9]{1,5}"

IN_STATE_DIR = "agent.state_dir"
IN_RUN_DIR = "agent.run_dir"
IN_THIS_FILE = "this file's directory"

DAY_S = 86_400
# A TOML file keeps integers in 64 bits; nothing here needs more than this many bytes.
TEBIBYTE = 1 << 40
