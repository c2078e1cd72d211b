"""Which faults strike in one run: a swarm, another subset with other weights for every seed.

Every kind draws from its own random source, so that leaving one out does not shift the others:
that is what makes shrinking a failing run possible.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from random import Random

KINDS: Mapping[str, float] = {
    # The way to the host: probability for each occasion at weight 1.
    "connect-refused": 0.15,
    "connect-timeout": 0.1,
    "host-down": 1.0,
    "reset-before-first-byte": 0.1,
    "reset-after-some-bytes": 0.12,
    "reset-after-all-bytes": 0.12,
    "half-open": 0.1,
    "request-lost": 0.12,
    "request-delayed": 0.15,
    "original-delayed": 0.15,
    "request-doubled": 0.1,
    "request-corrupted": 0.12,
    "reply-lost": 0.2,
    "reply-delayed": 0.2,
    "reply-doubled": 0.12,
    "reply-corrupted": 0.12,
    "answer-on-another-connection": 0.5,
    "idle-connection-lost": 0.1,
    # Somebody else's answer, or a forged one: the host itself never saw the message.
    "forged-mac": 0.15,
    "forged-without-mac": 0.12,
    "answer-of-another-amount": 0.12,
    "answer-of-another-stan": 0.1,
    "answer-of-another-terminal": 0.1,
    # The host.
    "host-drops": 0.12,
    "host-late": 0.15,
    "host-declines": 0.15,
    "host-refuses-reversal": 0.2,
    "host-refuses-for-good": 0.1,
    "host-lies": 0.15,
    "host-mac-wrong": 0.12,
    "host-mac-missing": 0.1,
    "host-no-code": 0.08,
    "host-answers-late": 0.15,
    "host-delivers-badly": 0.2,
    # The store.
    "sync-fails": 0.02,
    "disk-full": 1.0,
    "disk-read-only": 1.0,
    "bit-flip": 0.5,
    # The process and its machine.
    "process-killed": 0.02,
    "power-cut": 0.02,
    "restart": 1.0,
    # Devices and clock.
    "pin-pad-down": 1.0,
    "pin-pad-fails": 0.1,
    "wall-clock-1970": 1.0,
    "wall-clock-back-a-day": 1.0,
    "wall-clock-ten-years-on": 1.0,
    "wall-clock-steps": 1.0,
    # People and their programs.
    "application-dies": 0.2,
    "application-slow": 0.2,
    "application-cancels": 0.2,
    "application-asks-twice": 0.3,
    "operator-retries": 1.0,
    "operator-holds": 1.0,
    "operator-parks": 1.0,
    "operator-settles": 0.5,
}
"""Every fault kind with its probability for each occasion at weight 1 (1.0: once drawn, it comes)."""

THEMES: Mapping[str, tuple[str, ...]] = {
    "": (),
    "overtaking": ("original-delayed", "reset-after-all-bytes"),
    "overtaking and late answers": ("original-delayed", "reset-after-all-bytes", "reply-delayed", "connect-timeout"),
    "queue at the till": ("reply-lost", "request-lost"),
    "dying": ("process-killed", "power-cut", "sync-fails", "reply-lost"),
    "refusals": ("host-refuses-reversal", "host-refuses-for-good", "reply-lost"),
    "forgers": (
        "forged-mac",
        "pin-pad-fails",
        "answer-of-another-amount",
        "answer-of-another-stan",
        "answer-of-another-terminal",
    ),
    "people": ("application-dies", "operator-holds", "operator-parks", "operator-settles", "reply-lost"),
    "dead lines": ("host-down", "connect-refused", "reset-before-first-byte", "request-lost", "reply-lost"),
    "doubles": ("reply-doubled", "request-doubled", "reply-delayed", "host-answers-late", "application-cancels"),
}
"""Faults that are dangerous together; half of the runs draw such a set on top of their swarm."""
THEME_WEIGHT = 3.0

WEIGHTS = (0.3, 1.0, 1.0, 3.0)
SHARES = (0.0, 0.1, 0.25, 0.25, 0.4, 0.7)
"""Share of the kinds that a run draws; a run without any must go well, too."""


class Swarm:
    """The faults of one run. After `stop` nothing strikes any more."""

    def __init__(self, seed: int, without: Collection[str] = ()) -> None:
        draw = Random(f"{seed}/swarm")
        share = draw.choice(SHARES)
        self.weights = {kind: draw.choice(WEIGHTS) for kind in KINDS if draw.random() < share}
        self.theme = draw.choice(tuple(THEMES)) if draw.random() < 0.5 else ""
        self.weights |= dict.fromkeys(THEMES[self.theme], THEME_WEIGHT)
        for kind in without:
            self.weights.pop(kind, None)
        self.struck: Counter[str] = Counter()
        self.active = True
        self._seed = seed
        self._sources: dict[str, Random] = {}

    def source(self, name: str) -> Random:
        """The random source of this kind."""
        found = self._sources.get(name)
        if found is None:
            found = self._sources[name] = Random(f"{self._seed}/{name}")
        return found

    def strikes(self, kind: str) -> bool:
        """Whether this fault strikes on this occasion."""
        weight = self.weights.get(kind)
        if weight is None or not self.active:
            return False
        if self.source(kind).random() >= KINDS[kind] * weight:
            return False
        self.struck[kind] += 1
        return True

    def stop(self) -> None:
        """The time of faults is over."""
        self.active = False
