"""The MAC on the way out and back: placed where the message has one, and never believed unchecked."""

from __future__ import annotations

import asyncio

import pytest

from agent.hostlink import Replied, Unsent
from agent.macs import MacUnavailable, SoftwareMac
from protocol.errors import MacError
from protocol.rules import MacRules
from tests.unit.hostlink_bench import REQUEST, Bench, framed, play

# X9.19 over a published 0400 (Ajsgn/Java8583, DateTest.java): the second opinion on key, input and place.
X919 = MacRules("x919", "binary8", 64)
KEY = bytes.fromhex("73FE29329283FDF12540B6F80437C107")
INPUT = bytes.fromhex(
    "04007038048002C0801916123456789012345600000000000000050068118623352105290210653938617874657374332D"
    "33303635383130353439393030303331353600082216052900162334156811860529"
)
MAC = bytes.fromhex("284C79DC9A2E50FC")


async def ask(bench: Bench, answer: bytes, body: bytes = INPUT + bytes(8)) -> tuple[bytes, Replied]:
    """One exchange; gives what the host saw, and the reply."""
    bench.start(body=body, accept=lambda received: True)
    peer = await bench.host.accept()
    seen = await peer.frame()
    await peer.send(framed(answer))
    outcome = await bench.outcome()
    assert isinstance(outcome, Replied)
    return seen, outcome


def test_the_mac_is_placed_and_a_right_one_verifies() -> None:
    async def story(bench: Bench) -> None:
        seen, reply = await ask(bench, INPUT + MAC)
        assert seen == framed(INPUT + MAC)
        assert reply.mac == "valid"

    play(story, SoftwareMac(X919, KEY), mac=X919)


@pytest.mark.parametrize("bit", range(0, 8 * (len(INPUT) + 8), 37))
def test_a_flipped_bit_is_never_valid(bit: int) -> None:
    async def story(bench: Bench) -> None:
        damaged = bytearray(INPUT + MAC)
        damaged[bit // 8] ^= 1 << (bit % 8)
        _, reply = await ask(bench, bytes(damaged))
        assert reply.mac in ("invalid", "absent")

    play(story, SoftwareMac(X919, KEY), mac=X919)


def test_a_message_without_a_mac_field_leaves_as_it_is_and_its_answer_is_absent() -> None:
    async def story(bench: Bench) -> None:
        seen, reply = await ask(bench, REQUEST, body=REQUEST)
        assert seen == framed(REQUEST)
        assert reply.mac == "absent"

    play(story, SoftwareMac(X919, KEY), mac=X919)


def test_without_a_provider_nothing_is_checked_and_it_says_so() -> None:
    async def story(bench: Bench) -> None:
        seen, reply = await ask(bench, INPUT + MAC)
        assert seen == framed(INPUT + bytes(8))
        assert reply.mac == "unchecked"

    play(story, mac=X919)


class Pad:
    """A provider whose device fails or hangs when told to."""

    def __init__(self, on_mac: Exception | None = None, on_verify: Exception | None = None, hang: bool = False) -> None:
        self._on_mac, self._on_verify, self._hang = on_mac, on_verify, hang

    async def mac(self, data: bytes) -> bytes:
        if self._on_mac:
            raise self._on_mac
        return bytes(8)

    def mac_now(self, data: bytes) -> bytes | None:
        return None

    async def verify(self, data: bytes, mac: bytes) -> bool:
        if self._hang:
            await asyncio.Event().wait()
        if self._on_verify:
            raise self._on_verify
        return True

    def describe(self) -> str:
        return "pad"


@pytest.mark.parametrize(
    ("error", "cause"), [(MacUnavailable("unplugged"), "device"), (MacError("wrong key"), "configuration")]
)
def test_a_mac_that_cannot_be_made_is_unsent_and_nobody_is_called(error: Exception, cause: str) -> None:
    async def story(bench: Bench) -> None:
        bench.start(body=INPUT + bytes(8))
        outcome = await bench.outcome()
        assert isinstance(outcome, Unsent)
        assert outcome.cause == cause
        assert bench.host.nobody_came()

    play(story, Pad(on_mac=error), mac=X919)


@pytest.mark.parametrize("error", [MacUnavailable("unplugged"), MacError("wrong key")])
def test_an_answer_that_cannot_be_checked_is_unverified(error: Exception) -> None:
    async def story(bench: Bench) -> None:
        _, reply = await ask(bench, INPUT + MAC)
        assert reply.mac == "unverified"

    play(story, Pad(on_verify=error), mac=X919)


def test_an_answer_under_check_when_the_link_closes_is_unverified() -> None:
    async def story(bench: Bench) -> None:
        bench.start(body=INPUT + bytes(8), accept=lambda received: True)
        peer = await bench.host.accept()
        await peer.frame()
        await peer.send(framed(INPUT + MAC))
        frame = len(framed(INPUT + MAC))
        await bench.until(lambda: bench.link.link_state().counters.bytes_received == frame)
        await asyncio.sleep(0)
        await bench.link.close()
        outcome = bench.outcomes.get_nowait()[1]
        assert isinstance(outcome, Replied)
        assert outcome.mac == "unverified"

    play(story, Pad(hang=True), mac=X919)


def test_the_provider_of_a_new_day_is_used_from_the_next_exchange() -> None:
    async def story(bench: Bench) -> None:
        await ask(bench, INPUT + MAC)
        bench.link.macs = SoftwareMac(X919, KEY)
        _, reply = await ask(bench, INPUT + MAC)
        assert reply.mac == "valid"

    play(story, Pad(), mac=X919)
