"""The keys of a sign-on: proved in software or by the PIN pad itself, and used only then."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from agent.macs import MacUnavailable, PinPad
from agent.session_keys import NoKeyYet, PadKeys, SoftwareKeys, pin_key, wrapped_keys
from protocol.ciphers import des_decrypt, des_encrypt
from protocol.errors import MacError
from protocol.mac import compute, key_check_value
from protocol.profile import load_profile
from tests.unit.session_samples import MAK, MASTER, PIK, TDK, block

UP, X919 = load_profile("unionpay-pos"), load_profile("unionpay-x919")
SINGLE_MAK = MAK[:8]
FORMS = {
    "24 bytes": block(PIK[:8], SINGLE_MAK, width=8),
    "40 bytes": block(PIK, MAK),
    "40 bytes, single MAC key": block(PIK, SINGLE_MAK),
    "60 bytes": block(PIK, MAK, TDK),
}


class Pad:
    """A PIN pad with a master key: it decrypts the session key, half by half, and does the retail MAC."""

    def __init__(self, master: bytes = MASTER, *, silent: bool = False) -> None:
        self._master = master
        self._silent = silent

    def mac(self, data: bytes, session_key_hex: str) -> bytes:
        key = des_decrypt(self._master, bytes.fromhex(session_key_hex)) * (1 if len(session_key_hex) == 32 else 2)
        assert data == bytes(8)
        return des_encrypt(key, data)

    async def submit(self, work: Callable[[PinPad], bytes], deadline_s: float) -> bytes:
        """As the device's thread would."""
        if self._silent:
            await asyncio.Event().wait()
        return work(self)


def prove(taker: SoftwareKeys | PadKeys, keys: str) -> str:
    """The check value, or the error."""
    return asyncio.run(_prove(taker.prove(keys)))


async def _prove(work: Awaitable[str]) -> str:
    return await work


def damaged(keys: str, byte: int) -> str:
    """The block with one bit of one byte changed."""
    data = bytearray.fromhex(keys)
    data[byte] ^= 0x02
    return data.hex().upper()


@pytest.mark.parametrize("form", FORMS)
def test_software_takes_every_form_of_the_block(form: str) -> None:
    mak = SINGLE_MAK if "single" in form or form.startswith("24") else MAK
    taker = SoftwareKeys(UP, MASTER)
    assert prove(taker, FORMS[form]) == key_check_value(mak)
    data = bytes(range(20))
    assert asyncio.run(taker.provider(FORMS[form]).mac(data)) == compute(UP.mac, mak, data)


@pytest.mark.parametrize("byte", [0, 17, 21, 38])
def test_one_wrong_bit_in_a_key_or_its_check_value_is_found_by_software_and_by_the_pad(byte: int) -> None:
    keys = damaged(FORMS["40 bytes"], byte)
    for taker in (SoftwareKeys(X919, MASTER), PadKeys(X919, Pad().submit, 1.0)):
        with pytest.raises(MacError, match="check value"):
            prove(taker, keys)


def test_another_master_key_is_found_by_software_and_by_the_pad() -> None:
    other = bytes.fromhex("404142434445464748494A4B4C4D4E4F")
    for taker in (SoftwareKeys(X919, other), PadKeys(X919, Pad(other).submit, 1.0)):
        with pytest.raises(MacError, match="check value"):
            prove(taker, FORMS["40 bytes"])


def test_the_pad_proves_every_key_itself_and_none_is_in_the_clear_here() -> None:
    taker = PadKeys(X919, Pad().submit, 1.0)
    assert prove(taker, FORMS["60 bytes"]) == key_check_value(MAK)
    assert pin_key(FORMS["60 bytes"]) == FORMS["60 bytes"][:32]
    clear = MAK.hex().upper()
    assert not any(clear in text for text in (FORMS["60 bytes"], repr(wrapped_keys(FORMS["60 bytes"]))))


def test_a_single_length_key_suits_the_pad_and_unionpays_own_mac() -> None:
    assert prove(PadKeys(UP, Pad().submit, 1.0), FORMS["24 bytes"]) == key_check_value(SINGLE_MAK)
    assert prove(PadKeys(UP, Pad().submit, 1.0), FORMS["40 bytes, single MAC key"]) == key_check_value(SINGLE_MAK)


def test_a_double_length_key_suits_the_pad_and_unionpays_own_mac() -> None:
    assert prove(PadKeys(UP, Pad().submit, 1.0), FORMS["40 bytes"]) == key_check_value(MAK)


def test_a_key_that_the_pad_cannot_use_for_this_mac_is_refused() -> None:
    other = replace(UP, mac=replace(UP.mac, algorithm="3des-cbc"))
    with pytest.raises(MacError, match="PIN pad computes"):
        prove(PadKeys(other, Pad().submit, 1.0), FORMS["40 bytes"])


def test_a_key_too_short_for_the_mac_is_refused_at_the_sign_on_not_at_the_first_sale() -> None:
    with pytest.raises(MacError, match="16"):
        prove(SoftwareKeys(X919, MASTER), FORMS["24 bytes"])


def test_a_silent_pad_proves_nothing() -> None:
    with pytest.raises(MacUnavailable):
        prove(PadKeys(X919, Pad(silent=True).submit, 0.01), FORMS["40 bytes"])


@pytest.mark.parametrize("keys", ["", "00" * 23, "00" * 41, "nothex"])
def test_a_block_of_no_known_form_is_refused(keys: str) -> None:
    for taker in (SoftwareKeys(UP, MASTER), PadKeys(UP, Pad().submit, 1.0)):
        with pytest.raises(MacError):
            prove(taker, keys)


def test_before_the_first_sign_on_nothing_is_sent_under_a_key_and_nothing_believed() -> None:
    for work in (NoKeyYet().mac(b""), NoKeyYet().verify(b"", b"")):
        with pytest.raises(MacUnavailable, match="signed on"):
            asyncio.run(_await(work))


async def _await(work: Awaitable[object]) -> object:
    return await work
