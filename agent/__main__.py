"""`python -m agent`, and the command `reversald`: the command line, and what comes before the daemon's imports."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

from agent import VERSION, lean

DEFAULT_CONFIGURATION = Path("/etc/reversald/reversald.toml")
EX_USAGE = 64  # sysexits.h, as the other exit codes (agent/daemon.py)
_ARGPARSE_USAGE = 2  # its own code for a wrong command line


def main(argv: Sequence[str] | None = None) -> int:
    """An exit code (`agent/daemon.py` has the list)."""
    with lean.without((*lean.OPENSSL, *lean.COMPRESSORS)):
        options = _options(argv)
        import asyncio  # noqa: F401  these three use OpenSSL where there is one
        import hashlib  # noqa: F401
        import hmac  # noqa: F401
    from agent.daemon import run

    return run(options)


def _options(argv: Sequence[str] | None) -> SimpleNamespace:
    """The command line. Who reads it is needed once and goes: 0.5 MB."""
    import argparse

    parser = argparse.ArgumentParser(prog="reversald", description="Keeps reversals and sends them until acknowledged.")
    parser.add_argument(
        "command", nargs="?", choices=["run", "gateway"], default="run", help="gateway: refuse to run without one"
    )
    parser.add_argument("--config", type=Path, default=DEFAULT_CONFIGURATION, metavar="FILE")
    parser.add_argument("--version", action="version", version=f"reversald {VERSION}")
    parser.add_argument("--check-config", action="store_true", help="check the configuration, print every error, end")
    parser.add_argument("--print-config", action="store_true", help="print the effective configuration, end")
    parser.add_argument(
        "--new-journal",
        action="store_true",
        help="the journal is lost for good: begin a new one and take what is pending from the second copy",
    )
    try:
        options = SimpleNamespace(**vars(parser.parse_args(argv)))
    except SystemExit as ended:
        raise SystemExit(EX_USAGE if ended.code == _ARGPARSE_USAGE else ended.code) from None
    lean.forget(("argparse", "gettext"))
    return options


if __name__ == "__main__":
    sys.exit(main())
