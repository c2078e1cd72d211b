"""Loaded by Python at the start of the daemon under test: a fault of ours whose text holds the whole message."""

from __future__ import annotations

import os
from typing import Any

from agent.loop import Loop


def faulty(self: Loop, lane: Any, txn: Any, purpose: str, body: bytes, *more: Any) -> None:
    """As a careless programmer would write it."""
    message = lane.policy.profile.codec.unpack(body)
    raise RuntimeError(f"cannot send {dict(message.fields)} {body.hex()} {body!r}")


if os.environ.get("CANARY_FAULT"):
    Loop._send = faulty  # type: ignore[method-assign]
