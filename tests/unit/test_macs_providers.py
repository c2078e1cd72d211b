"""MAC providers: the right code, in time, or a clear refusal."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from agent.macs import MacUnavailable, NoMac, PinPad, PinPadMac, SoftwareMac
from hwsim.host import macs
from protocol.errors import AgentError, MacError
from protocol.rules import MacRules

# ISO/IEC 9797-1:2011, annex B: algorithm 3, padding 1 and 2, of "Now is the time for all ".
KEY = bytes.fromhex("0123456789ABCDEFFEDCBA9876543210")
DATA = b"Now is the time for all "
PAD1 = bytes.fromhex("A1C72E74EA3FA9B6")
PAD2 = bytes.fromhex("E9086230CA3BE796")

X919 = MacRules("x919", "binary8", 64)
PADDED2 = MacRules("iso9797-3-pad2", "binary8", 64)
SESSION_KEY_HEX = "00112233445566778899AABBCCDDEEFF"


class FakePad:
    """A PIN pad: retail MAC with zero padding of what it is fed, here read from a book of known answers."""

    def __init__(self, book: dict[bytes, bytes]) -> None:
        self.book = book
        self.asked: list[tuple[bytes, str]] = []

    def mac(self, data: bytes, session_key_hex: str) -> bytes:
        self.asked.append((data, session_key_hex))
        return self.book[data]


Submit = Callable[[Callable[[PinPad], bytes], float], Awaitable[bytes]]


def directly(pad: PinPad) -> Submit:
    async def submit(work: Callable[[PinPad], bytes], deadline_s: float) -> bytes:
        return work(pad)

    return submit


def failing(error: Exception) -> Submit:
    async def submit(work: Callable[[PinPad], bytes], deadline_s: float) -> bytes:
        raise error

    return submit


@pytest.mark.parametrize(("rules", "expected"), [(X919, PAD1), (PADDED2, PAD2)])
def test_software_gives_the_published_codes(rules: MacRules, expected: bytes) -> None:
    provider = SoftwareMac(rules, KEY)
    assert asyncio.run(provider.mac(DATA)) == expected
    assert asyncio.run(provider.verify(DATA, expected))
    assert not asyncio.run(provider.verify(DATA, expected[:-1] + b"\0"))
    assert not asyncio.run(provider.verify(DATA, b""))


def test_software_says_that_it_is_for_the_bench_and_shows_no_key() -> None:
    provider = SoftwareMac(X919, KEY)
    assert "bench only" in provider.describe()
    assert KEY.hex() not in (repr(provider) + provider.describe()).lower()


def test_a_key_of_a_wrong_length_is_refused_at_once() -> None:
    with pytest.raises(MacError):
        SoftwareMac(X919, KEY[:5])


def test_nobody_verifies_nothing() -> None:
    assert asyncio.run(NoMac().mac(DATA)) == b""
    assert not asyncio.run(NoMac().verify(DATA, b""))
    assert NoMac().describe() == "none"


@pytest.mark.parametrize(("rules", "expected"), [(X919, PAD1), (PADDED2, PAD2)])
def test_the_pad_is_fed_what_the_algorithm_wants(rules: MacRules, expected: bytes) -> None:
    fed = DATA if rules is X919 else DATA + bytes.fromhex("8000000000000000")
    pad = FakePad({fed: expected})
    provider = PinPadMac(rules, directly(pad), SESSION_KEY_HEX, 1.0)
    assert asyncio.run(provider.mac(DATA)) == expected
    assert asyncio.run(provider.verify(DATA, expected))
    assert pad.asked == [(fed, SESSION_KEY_HEX)] * 2
    assert rules.algorithm in provider.describe()
    assert SESSION_KEY_HEX not in repr(provider) + provider.describe()


class DesPad:
    """A PIN pad that knows one key: algorithm 3 with zero padding, computed by the simulated host's own code."""

    def __init__(self, key: bytes) -> None:
        self.key = key
        self.asked: list[bytes] = []

    def mac(self, data: bytes, session_key_hex: str) -> bytes:
        self.asked.append(data)
        key = self.key if len(self.key) == 16 else self.key * 2
        return bytes(macs.x919(key, data))


@pytest.mark.parametrize("key", [KEY, KEY[:8]])
def test_the_pad_makes_the_unionpay_mac_with_keys_of_both_lengths(key: bytes) -> None:
    """Double-length keys are what sign-on gives today; algorithm 3 of one block is triple DES of it."""
    rules, pad = MacRules("up-ecb", "hex8", 64), DesPad(key)
    provider = PinPadMac(rules, directly(pad), SESSION_KEY_HEX[: 2 * len(key)], 1.0)
    expected = asyncio.run(SoftwareMac(rules, key).mac(DATA))
    assert expected == macs.up_ecb(key, DATA)
    assert asyncio.run(provider.mac(DATA)) == expected
    assert asyncio.run(provider.verify(DATA, expected))
    assert not asyncio.run(provider.verify(DATA + b"x", expected))
    assert [len(fed) for fed in pad.asked[:2]] == ([8, 8] if len(key) == 16 else [16, 16])


@pytest.mark.parametrize("algorithm", ["3des-cbc", "x99", "cmac-aes", "up-sm4", "nonsense", "none"])
def test_an_algorithm_that_the_pad_cannot_do_is_refused_at_construction(algorithm: str) -> None:
    with pytest.raises(MacError, match=algorithm):
        PinPadMac(MacRules(algorithm, "binary8", 64), directly(FakePad({})), SESSION_KEY_HEX, 1.0)


class PadGone(AgentError):
    code = "E-DEVICE-GONE"


@pytest.mark.parametrize("error", [PadGone("unplugged"), OSError(5, "Input/output error"), TimeoutError()])
def test_whatever_fails_at_the_pad_is_a_device_that_is_not_there_now(error: Exception) -> None:
    provider = PinPadMac(X919, failing(error), SESSION_KEY_HEX, 1.0)
    with pytest.raises(MacUnavailable) as caught:
        asyncio.run(provider.mac(DATA))
    assert caught.value.code == "E-MAC-DEVICE"


@pytest.mark.parametrize("length", [0, 4, 7, 9, 16])
def test_a_code_of_a_wrong_length_from_the_pad_is_none(length: int) -> None:
    provider = PinPadMac(X919, directly(FakePad({DATA: bytes(length)})), SESSION_KEY_HEX, 1.0)
    with pytest.raises(MacUnavailable, match="bytes instead of 8"):
        asyncio.run(provider.mac(DATA))


def test_a_hung_pad_keeps_the_deadline_and_the_event_loop_goes_on() -> None:
    release = threading.Event()

    class Hung:
        def mac(self, data: bytes, session_key_hex: str) -> bytes:
            release.wait()
            return bytes(8)

    async def story(pool: ThreadPoolExecutor) -> int:
        turns = 0

        async def submit(work: Callable[[PinPad], bytes], deadline_s: float) -> bytes:
            return await asyncio.get_running_loop().run_in_executor(pool, work, Hung())

        async def turn() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        turning = asyncio.ensure_future(turn())
        with pytest.raises(MacUnavailable, match=r"within 0\.1 s"):
            await PinPadMac(X919, submit, SESSION_KEY_HEX, 0.1).mac(DATA)
        turning.cancel()
        release.set()
        return turns

    with ThreadPoolExecutor(1) as pool:
        assert asyncio.run(story(pool)) > 10
