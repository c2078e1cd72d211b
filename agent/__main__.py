"""`python -m agent`, and the command `reversald`: what comes before the first import of the daemon."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from agent.lean import OPENSSL, without


def main(argv: Sequence[str] | None = None) -> int:
    """See `agent.daemon.main`."""
    with without(OPENSSL):
        import asyncio  # noqa: F401  these three use OpenSSL where there is one
        import hashlib  # noqa: F401
        import hmac  # noqa: F401
    from agent.daemon import main as daemon

    return daemon(argv)


if __name__ == "__main__":
    sys.exit(main())
