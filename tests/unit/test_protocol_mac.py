"""MACs: algorithms against independent computations, the place of the MAC in a message, working keys."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from protocol import mac
from protocol.ciphers import des_decrypt, des_encrypt, triple
from protocol.errors import MacError, MessageError
from protocol.iso8583 import Codec, Message
from protocol.profile import load_profile
from protocol.rules import MacRules
from tests.unit.protocol_samples import MAC_KEY, request_of

SINGLE = MAC_KEY[:8]
NOW_IS = b"Now is the time for all "


def _rules(algorithm: str, output: str = "binary8") -> MacRules:
    return MacRules(algorithm=algorithm, output=output)


def _xor(left: bytes, right: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(left, right, strict=True))


@pytest.mark.parametrize(
    ("algorithm", "key", "data", "expected"),
    [
        # ISO/IEC 9797-1:2011 annex B (algorithm 3, padding 1 and 2); FIPS 113 appendix.
        ("x919", MAC_KEY, NOW_IS, "A1C72E74EA3FA9B6"),
        ("iso9797-3-pad1", MAC_KEY, NOW_IS, "A1C72E74EA3FA9B6"),
        ("iso9797-3-pad2", MAC_KEY, NOW_IS, "E9086230CA3BE796"),
        ("x99", SINGLE, b"7654321 Now is the time for ", "F1D30F6849312CA4"),
        # NIST SP 800-38B example 2 (AES-128): one whole block, and the empty message; the left 8 bytes.
        (
            "cmac-aes",
            bytes.fromhex("2B7E151628AED2A6ABF7158809CF4F3C"),
            bytes.fromhex("6BC1BEE22E409F96E93D7E117393172A"),
            "070A16B46B4D4144",
        ),
        ("cmac-aes", bytes.fromhex("2B7E151628AED2A6ABF7158809CF4F3C"), b"", "BB1D6929E9593728"),
        # NIST SP 800-38B example: three-key TDEA, empty message.
        (
            "cmac-3des",
            bytes.fromhex("8AA83BF8CBDA10620BC1BF19FBB6CD58BC313D4A371CA8B5"),
            b"",
            "B7A688E122FFAF95",
        ),
    ],
)
def test_a_mac_of_the_standard_is_reproduced(algorithm: str, key: bytes, data: bytes, expected: str) -> None:
    assert mac.compute(_rules(algorithm), key, data).hex().upper() == expected


@pytest.mark.parametrize("key", [SINGLE, MAC_KEY, MAC_KEY + SINGLE])
def test_unionpay_ecb_is_two_encryptions_with_an_xor_between(key: bytes) -> None:
    # By the rule, step by step: XOR of the blocks, as text; encrypt the first 8, XOR the last 8, encrypt; as text, 8.
    data = bytes(range(20))
    folded = _xor(_xor(data[:8], data[8:16]), data[16:] + bytes(4)).hex().upper().encode()
    first = des_encrypt(key, folded[:8])
    second = des_encrypt(key, _xor(first, folded[8:]))
    assert mac.compute(_rules("up-ecb", "hex8"), key, data) == second.hex().upper()[:8].encode()


def test_unionpay_sm4_is_cbc_over_the_folded_text() -> None:
    data = bytes(range(40))
    folded = _xor(_xor(data[:16], data[16:32]), data[32:] + bytes(8)).hex().upper().encode()

    def sm4(block: bytes) -> bytes:
        return Cipher(algorithms.SM4(MAC_KEY), modes.ECB()).encryptor().update(block)

    core = sm4(_xor(sm4(folded[:16]), folded[16:]))
    assert mac.compute(_rules("up-sm4", "hex8"), MAC_KEY, data) == core.hex().upper()[:8].encode()


def test_triple_des_cbc_is_a_chain_of_blocks() -> None:
    first = des_encrypt(MAC_KEY, b"12345678")
    expected = des_encrypt(MAC_KEY, _xor(first, b"9" + bytes(7)))
    assert mac.compute(_rules("3des-cbc"), MAC_KEY, b"123456789") == expected


def test_x919_of_nothing_is_that_of_one_zero_block() -> None:
    assert mac.compute(_rules("x919"), MAC_KEY, b"") == mac.compute(_rules("x919"), MAC_KEY, bytes(8))


@pytest.mark.parametrize(
    ("output", "expected"),
    [("binary8", bytes(range(8, 16))), ("hex8", b"08090A0B"), ("binary4", bytes([8, 9, 10, 11, 0, 0, 0, 0]))],
)
def test_the_field_always_gets_8_bytes(output: str, expected: bytes) -> None:
    assert mac.finish(_rules("x919", output), bytes(range(8, 24))) == expected
    with pytest.raises(MacError):
        mac.finish(_rules("x919", output), bytes(7))


def test_a_pin_pad_that_does_the_core_gives_the_same_mac() -> None:
    # The pad's command is retail MAC with zero padding: what it is fed for padding 2 is whole blocks already.
    rules = _rules("iso9797-3-pad2", "hex8")
    core, fed = mac.prepare(rules, b"123456789")
    assert (core, fed) == ("retail", b"123456789\x80" + bytes(6))
    pad = mac.compute(_rules("x919"), MAC_KEY, fed)
    assert mac.finish(rules, pad) == mac.compute(rules, MAC_KEY, b"123456789")


@pytest.mark.parametrize(
    ("algorithm", "size"), [("x919", 8), ("x99", 16), ("up-sm4", 8), ("3des-cbc", 8), ("cmac-aes", 8), ("up-ecb", 7)]
)
def test_a_key_of_the_wrong_length_is_an_error(algorithm: str, size: int) -> None:
    with pytest.raises(MacError, match="bytes"):
        mac.compute(_rules(algorithm), bytes(size), b"data")


def test_an_unknown_algorithm_is_an_error() -> None:
    for algorithm in ("none", "md5"):
        with pytest.raises(MacError, match=algorithm):
            mac.compute(_rules(algorithm), MAC_KEY, b"")


@pytest.mark.parametrize(("name", "size"), [("unionpay-pos", 8), ("unionpay-x919", 8), ("as2805-like", 8)])
def test_a_mac_is_put_in_its_field_and_taken_out_again(name: str, size: int) -> None:
    profile, request = request_of(name)
    body = profile.codec.pack(request)
    data = mac.mac_input(profile.mac, body)
    assert data + bytes(size) == body
    code = mac.compute(profile.mac, MAC_KEY, data)
    sealed = mac.place(profile, body, code)
    assert mac.split(profile, sealed) == (data, code)
    assert profile.codec.unpack(sealed).get(64) == code.hex().upper()
    assert mac.compute(profile.mac, MAC_KEY, data) == code
    assert mac.compute(profile.mac, MAC_KEY, data + b"x") != code


def test_a_mac_as_text_takes_16_characters_in_element_64_or_128() -> None:
    profile = load_profile("iso87-ascii")
    profile = replace(profile, mac=replace(profile.mac, algorithm="x919"))
    for fields, field in (({3: "000000"}, 64), ({3: "000000", 90: "0" * 42}, 128)):
        message = mac.reserve(profile, Message("0420", fields))
        assert message.get(field) == "0" * 16
        body = profile.codec.pack(message)
        sealed = mac.place(profile, body, bytes(range(8)))
        assert sealed.endswith(b"0001020304050607")
        assert mac.split(profile, sealed) == (body[:-16], bytes(range(8)))
        assert mac.split(profile, sealed[:-1] + b"X") == (body[:-16], b"")


def test_a_message_without_a_mac_has_none_to_take() -> None:
    profile = load_profile("unionpay-pos")
    body = profile.codec.pack(Message("0800", {11: "000001"}))
    assert mac.split(profile, body) is None
    for damaged in (body, b"", b"\x02\x00", bytes(10)):
        with pytest.raises(MacError, match="no MAC field"):
            mac.mac_input(profile.mac, damaged)
    ascii_profile = load_profile("iso87-ascii")
    for damaged in (b"0200zz", b"0200" + b"0" * 15 + b"z"):
        assert mac.split(ascii_profile, damaged) is None
    without = replace(profile, mac=replace(profile.mac, field=None))
    assert mac.split(without, body) is None
    with pytest.raises(MacError, match="8 bytes"):
        mac.place(profile, profile.codec.pack(request_of("unionpay-pos")[1]), b"1234")


def test_messages_outside_the_mac_classes_get_no_mac_field() -> None:
    profile = load_profile("unionpay-pos")
    assert mac.reserve(profile, Message("0800", {11: "000001"})).get(64) == ""
    assert not mac.carries_mac(profile.mac, "0800")
    assert mac.carries_mac(profile.mac, "0400")


def test_a_profile_without_the_element_for_the_mac_is_told() -> None:
    profile = load_profile("unionpay-pos")
    codec = Codec([packing for field, packing in profile.codec.packings.items() if field != 64])
    with pytest.raises(MessageError, match="element for the MAC"):
        mac.reserve(replace(profile, codec=codec), Message("0200", {3: "000000"}))


def _block(*keys: tuple[bytes, int]) -> str:
    """A key block under MAC_KEY: each key encrypted, zero filled to its place, check value behind."""
    parts = [des_encrypt(MAC_KEY, key).ljust(size, b"\0") + des_encrypt(key, bytes(8))[:4] for key, size in keys]
    return b"".join(parts).hex().upper()


def test_working_keys_of_every_layout_unwrap() -> None:
    double = bytes(range(16))
    assert mac.unwrap_working_keys(_block((SINGLE, 8), (double[:8], 8)), MAC_KEY) == mac.WorkingKeys(SINGLE, double[:8])
    assert mac.unwrap_working_keys(_block((double, 16), (double, 16)), MAC_KEY).mak == double
    assert mac.unwrap_working_keys(_block((double, 16), (SINGLE, 16)), MAC_KEY).mak == SINGLE
    assert mac.unwrap_working_keys(_block((double, 16), (double, 16), (MAC_KEY, 16)), MAC_KEY).tdk == MAC_KEY


@pytest.mark.parametrize("position", range(0, 24, 3))
def test_a_damaged_key_block_is_an_error_that_names_the_key(position: int) -> None:
    block = bytearray.fromhex(_block((SINGLE, 8), (bytes(range(8)), 8)))
    block[position] ^= 0x10
    with pytest.raises(MacError, match="PIN key" if position < 12 else "MAC key"):
        mac.unwrap_working_keys(block.hex(), MAC_KEY)


@pytest.mark.parametrize("block", ["", "00" * 23, "00" * 41, "zz" * 24])
def test_a_key_block_of_another_size_is_an_error(block: str) -> None:
    with pytest.raises(MacError):
        mac.unwrap_working_keys(block, MAC_KEY)


def test_keys_are_not_shown() -> None:
    assert repr(mac.WorkingKeys(SINGLE, MAC_KEY)) == "WorkingKeys(pik 8, mak 16, tdk 0 bytes)"


def test_short_des_keys_are_expanded_and_odd_ones_refused() -> None:
    assert triple(SINGLE) == SINGLE * 3
    assert triple(MAC_KEY) == MAC_KEY + SINGLE
    assert triple(MAC_KEY + SINGLE) == MAC_KEY + SINGLE
    assert des_decrypt(MAC_KEY, des_encrypt(MAC_KEY, bytes(16))) == bytes(16)
    with pytest.raises(MacError):
        triple(bytes(9))
