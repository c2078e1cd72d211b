"""Fuzzing: a million damaged and random messages raise nothing but typed errors, and what is accepted is exact."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from protocol.envelope import EnvelopeReader, wrap
from protocol.errors import FrameError, MessageError
from protocol.profile import Profile
from protocol.reversal import freeze
from tests.property.protocol_corpus import is_same, seeds
from tests.unit.protocol_samples import PROFILES, request_of, shipped

TOTAL = 1_000_000
SEED = 20261122  # a failure names its number: the same seed gives the same inputs


def _inputs(name: str, count: int, rng: random.Random) -> Iterator[bytes]:
    """Damaged messages (bytes changed, cut, doubled, joined) and random ones behind a right type or start."""
    bodies = seeds(name)
    start = shipped(name).codec.mti_bytes
    many, values, chance = len(bodies), len(_VALUES), rng.random
    for number in range(count):
        body = bodies[int(chance() * many)]
        if number % 3:
            right = start + int(chance() * 20) if number % 3 == 1 else start
            yield body[:right] + rng.randbytes(int(chance() * 60))
            continue
        damaged = bytearray(body)
        for _ in range(1 + number // 3 % 4):
            damaged[int(chance() * len(damaged))] = _VALUES[int(chance() * values)]
        if number % 24 == 0:
            first, last = sorted((rng.randrange(len(body)), rng.randrange(len(body))))
            damaged[first:last] = rng.choice((b"", body[first:last] * 2, rng.choice(bodies)[first:last]))
        yield bytes(damaged)


# Digits, bounds and what int() takes, more often than chance would.
_VALUES = bytes(range(256)) + b"0123456789ABCDEF +-_\x00\xff\x99\x0a" * 4


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_million_inputs_raise_nothing_but_typed_errors() -> None:
    rng = random.Random(SEED)
    tried = accepted = 0
    share = TOTAL // len(PROFILES) + 1
    for name in PROFILES:
        codec = shipped(name).codec
        for body in _inputs(name, share, rng):
            tried += 1
            try:
                message = codec.unpack(body)
            except MessageError:
                continue
            accepted += 1
            assert is_same(codec.pack(message), body), f"{name}, input {tried}"
    assert tried >= TOTAL
    assert accepted > TOTAL // 100  # the mutations are not all trivial nonsense


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_damaged_requests_freeze_or_raise_typed_errors() -> None:
    rng = random.Random(SEED + 1)
    frozen = 0
    for name in PROFILES:
        profile, request = request_of(name)
        body = profile.codec.pack(request)
        for _ in range(1000):
            damaged = bytearray(body)
            damaged[rng.randrange(len(body))] = rng.choice(_VALUES)
            try:
                message = profile.codec.unpack(bytes(damaged))
                freeze(message, profile, "timeout", own_stan="000008")
            except MessageError:
                continue
            frozen += 1
    assert frozen > 500


@pytest.mark.parametrize("name", PROFILES)
def test_a_stream_of_noise_gives_frames_or_an_error_and_never_grows(name: str) -> None:
    rng = random.Random(SEED + 2)
    profile = shipped(name)
    for _ in range(300):
        _feed(profile, rng)


def _feed(profile: Profile, rng: random.Random) -> None:
    """Feeds good frames with noise among them until the reader gives up."""
    reader = EnvelopeReader(profile)
    good = wrap(profile, seeds(profile.name)[0])
    given = taken = 0
    for _ in range(20):
        data = good if rng.random() < 0.7 else rng.randbytes(rng.randrange(1, 30))
        given += len(data)
        try:
            taken += sum(len(frame.body) for frame in reader.feed(data))
        except FrameError:
            assert not reader.partial
            return
    assert taken <= given
