"""`python -m agent`, and the command `reversald`: the command line, and what comes before the daemon's imports."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

from agent import lean

DEFAULT_CONFIGURATION = Path("/etc/reversald/reversald.toml")


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
    parser.add_argument("--check-config", action="store_true", help="check the configuration, print every error, end")
    parser.add_argument("--print-config", action="store_true", help="print the effective configuration, end")
    parser.add_argument(
        "--new-journal",
        action="store_true",
        help="the journal is lost for good: begin a new one and take what is pending from the second copy",
    )
    options = SimpleNamespace(**vars(parser.parse_args(argv)))
    lean.forget(("argparse", "gettext"))
    return options


if __name__ == "__main__":
    sys.exit(main())
