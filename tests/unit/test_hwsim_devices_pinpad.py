"""The simulated PIN pad: packets, keys, PIN entry, MAC, faults. Times are given, nothing sleeps."""

from __future__ import annotations

from functools import reduce
from operator import xor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwsim.devices.des import decrypt, encrypt, retail_mac
from hwsim.devices.pinpad import PinPad
from hwsim.devices.pinpad_keys import TEST_KEYS, encrypted_under
from hwsim.errors import BenchError

ACK, NAK, EOT = b"\x06", b"\x15", b"\x04"
ACCOUNT = "6212345678900000003"
MASTER = TEST_KEYS["master"]
PIN_KEY = encrypted_under(MASTER, TEST_KEYS["pin"])
MAC_KEY = encrypted_under(MASTER, TEST_KEYS["mac"])


def packet(text: str) -> bytes:
    body = text.encode("latin-1") + b"\x03"
    return b"\x02" + body + bytes([reduce(xor, body)])


def admin(text: str) -> bytes:
    body = text.encode("latin-1") + b"\x0e"
    return b"\x0f" + body + bytes([reduce(xor, body)])


def pin_request(key: str = PIN_KEY, amount: str = "12.34", timeout: str = "1", account: str = ACCOUNT) -> bytes:
    return packet(f"70.{account}\x1c{key}{amount}\x1c{timeout}")


@pytest.fixture
def pad() -> PinPad:
    pad = PinPad()
    pad.load_key(0, "master")
    return pad


def entered_block(pad: PinPad, now: float = 0.0) -> str:
    said = pad.feed(pin_request(), now) + pad.tick(now)
    assert said.startswith(ACK + b"\x0271.00601")
    return said[10:26].decode("ascii")


def clear_pin(block: str) -> bytes:
    """Decrypts and takes the account off again, from the definition of the format."""
    field = decrypt(bytes.fromhex(TEST_KEYS["pin"]), bytes.fromhex(block))
    return bytes(a ^ b for a, b in zip(field, bytes.fromhex("0000" + ACCOUNT[6:18]), strict=True))


def test_the_published_administration_frame_is_understood() -> None:
    # <SI>040<SO>: LRC = 30 ^ 34 ^ 30 ^ 0E
    assert PinPad().feed(bytes.fromhex("0F3034300E3A"), 0.0) == ACK + admin("040")


def test_a_loaded_key_is_there_only_after_the_echo_was_acknowledged() -> None:
    pad = PinPad()
    load = admin("023" + MASTER)
    assert pad.feed(load, 0.0) == ACK + load
    assert not pad.keys.has("3")
    assert pad.feed(ACK, 0.1) == EOT
    assert pad.keys.has("3")


def test_a_key_refused_by_the_host_is_not_stored() -> None:
    pad = PinPad()
    pad.feed(admin("023" + MASTER), 0.0)
    assert pad.feed(EOT, 0.1) == b""
    assert not pad.keys.has("3")


def test_the_pad_says_whether_a_key_is_there(pad: PinPad) -> None:
    assert pad.feed(admin("040"), 0.0) == ACK + admin("04F")
    assert pad.feed(ACK, 0.1) == EOT
    assert pad.feed(admin("041"), 0.2) == ACK + admin("040")


def test_selecting_a_key_is_confirmed(pad: PinPad) -> None:
    assert pad.feed(admin("083"), 0.0) == ACK + admin("080")
    assert pad.feed(ACK, 0.1) == EOT
    assert pad.selected == "3"
    assert pad.feed(admin("08C"), 0.2) == ACK + admin("081")


def test_the_serial_number_is_twelve_zeros_until_loaded(pad: PinPad) -> None:
    assert pad.feed(admin("06"), 0.0) == ACK + admin("06000000000000")
    pad.feed(ACK, 0.1)
    pad.feed(admin("05SN42"), 0.2)
    pad.feed(ACK, 0.3)
    assert pad.feed(admin("06"), 0.4) == ACK + admin("06SN42")


def test_the_pin_block_is_iso_0_under_the_working_key(pad: PinPad) -> None:
    assert clear_pin(entered_block(pad)).hex().upper() == "06123456FFFFFFFF"


def test_a_pin_block_with_the_wrong_account_does_not_open(pad: PinPad) -> None:
    field = decrypt(bytes.fromhex(TEST_KEYS["pin"]), bytes.fromhex(entered_block(pad)))
    assert field.hex().upper() != "06123456FFFFFFFF"


def test_the_person_takes_time(pad: PinPad) -> None:
    pad.person.plan("enter", pin="4321", after_s=3.0)
    assert pad.feed(pin_request(), 10.0) == ACK
    assert pad.next_wake() == pytest.approx(13.0)
    assert pad.tick(12.9) == b""
    assert pad.tick(13.0).startswith(b"\x0271.00401")


def test_the_cancel_key_ends_the_session(pad: PinPad) -> None:
    pad.apply_fault("pin-cancel")
    assert pad.feed(pin_request(), 0.0) + pad.tick(0.0) == ACK + EOT


def test_nobody_at_the_pad_ends_the_session_at_its_time_out(pad: PinPad) -> None:
    pad.apply_fault("pin-timeout")
    assert pad.feed(pin_request(timeout="2"), 0.0) == ACK
    assert pad.tick(59.9) == b""
    assert pad.tick(60.0) == EOT


def test_cancel_is_answered_with_eot_in_a_session_and_ack_in_idle(pad: PinPad) -> None:
    pad.person.plan("wait")
    pad.feed(pin_request(), 0.0)
    assert pad.feed(packet("72"), 1.0) == EOT
    assert pad.feed(packet("72"), 2.0) == ACK
    assert pad.tick(500.0) == b""


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (pin_request(account=""), "0"),
        (pin_request(account="1234567"), "2"),
        (pin_request(account="1" * 20), "3"),
        (pin_request(account="62123456X8900000003"), "4"),
        (pin_request(key="XYZ"), "5"),
        (pin_request(timeout="0"), "6"),
        (pin_request(amount="1,50"), "8"),
    ],
)
def test_a_wrong_request_is_refused_with_its_code(pad: PinPad, request_: bytes, code: str) -> None:
    assert pad.feed(request_, 0.0) == ACK + packet("71" + code)


def test_a_session_without_a_master_key_is_refused() -> None:
    assert PinPad().feed(pin_request(), 0.0) == ACK + packet("719")


def test_an_own_prompt_needs_a_text_on_the_display_first(pad: PinPad) -> None:
    request = packet(f"Z60.{ACCOUNT}\x1c{PIN_KEY}")
    assert pad.feed(request, 0.0) == ACK + EOT
    assert pad.feed(packet("Z2\x1aINPUT PIN"), 1.0) == ACK
    assert pad.display == ["INPUT PIN"]
    assert (pad.feed(request, 2.0) + pad.tick(2.0)).startswith(ACK + b"\x0271.0")


def mac_request(data: bytes, flag: str = "6", sequence: str = "00") -> bytes:
    return packet(f"Z66{flag}{sequence}0\x1c{MAC_KEY}\x1c\x1c{data.hex().upper()}")


def test_the_mac_is_the_retail_mac_under_the_session_key(pad: PinPad) -> None:
    data = bytes(range(21))
    left, right = bytes.fromhex(TEST_KEYS["mac"])[:8], bytes.fromhex(TEST_KEYS["mac"])[8:]
    chain = bytes(8)
    for at in range(0, 24, 8):
        block = data[at : at + 8].ljust(8, b"\0")
        chain = encrypt(left, bytes(a ^ b for a, b in zip(chain, block, strict=True)))
    expected = encrypt(left, decrypt(right, chain)).hex().upper()
    assert pad.feed(mac_request(data), 0.0) == ACK + packet("Z670" + expected)


def test_a_long_mac_goes_in_several_packets(pad: PinPad) -> None:
    first, last = bytes(range(112)), b"tail0123"
    assert pad.feed(mac_request(first, "7", "00"), 0.0) == ACK + packet("Z671")
    pad.feed(ACK, 0.1)
    expected = retail_mac(bytes.fromhex(TEST_KEYS["mac"]), first + last).hex().upper()
    assert pad.feed(mac_request(last, "6", "01"), 0.2) == ACK + packet("Z670" + expected)


@pytest.mark.parametrize(
    ("text", "status"),
    [
        (f"Z669000\x1c{MAC_KEY}\x1c\x1c00", "6"),
        (f"Z666010\x1c{MAC_KEY}\x1c\x1c00", "2"),
        (f"Z666005\x1c{MAC_KEY}\x1c\x1c00", "3"),
        (f"Z666000\x1c{MAC_KEY}\x1c1\x1c00", "4"),
        (f"Z666000\x1c{MAC_KEY}\x1c\x1c", "5"),
        (f"Z666000\x1c{MAC_KEY}\x1c\x1cGG", "7"),
        ("Z666000\x1c12\x1c\x1c00", "8"),
    ],
)
def test_a_wrong_mac_request_is_refused_with_its_status(pad: PinPad, text: str, status: str) -> None:
    assert pad.feed(packet(text), 0.0) == ACK + packet("Z67" + status)


def test_a_refused_answer_is_sent_again_and_given_up_after_three_tries(pad: PinPad) -> None:
    answer = admin("04F")
    assert pad.feed(admin("040"), 0.0) == ACK + answer
    assert pad.feed(NAK, 0.1) == answer
    assert pad.feed(NAK, 0.2) == answer
    assert pad.feed(NAK, 0.3) == EOT
    assert pad.feed(NAK, 0.4) == b""


def test_a_damaged_packet_is_refused_three_times_then_the_session_ends(pad: PinPad) -> None:
    broken = admin("040")[:-1] + b"\x00"
    assert [pad.feed(broken, 0.1 * at) for at in range(3)] == [NAK, NAK, EOT]


def test_a_missing_ack_ends_the_session(pad: PinPad) -> None:
    pad.feed(admin("040"), 0.0)
    assert pad.tick(5.0) == EOT


def test_a_packet_byte_by_byte_with_noise_before_it_is_understood(pad: PinPad) -> None:
    stream = b"\x55\x02half\xff" + admin("040")
    said = b"".join(pad.feed(bytes([byte]), 0.01 * at) for at, byte in enumerate(stream))
    assert said == ACK + admin("04F")


@settings(max_examples=300)
@given(st.binary(max_size=600))
def test_after_any_bytes_and_a_pause_the_next_command_works(noise: bytes) -> None:
    pad = PinPad()
    pad.load_key(0, "master")
    pad.feed(noise, 0.0)
    pad.tick(400.0)
    pad.load_key(0, "master")
    assert pad.feed(admin("040"), 401.0).endswith(ACK + admin("04F"))


def test_a_nak_storm_refuses_good_packets(pad: PinPad) -> None:
    pad.apply_fault("nak-storm", count=2)
    assert [pad.feed(admin("040"), 0.1 * at) for at in range(3)] == [NAK, NAK, ACK + admin("04F")]


def test_a_wrong_checksum_is_put_on_the_chosen_frame(pad: PinPad) -> None:
    pad.apply_fault("wrong-checksum", nth=2)
    good = admin("04F")
    assert pad.feed(admin("040"), 0.0) == ACK + good
    assert pad.feed(admin("040"), 0.1) == ACK + good[:-1] + bytes([good[-1] ^ 1])


def test_a_lost_ack_does_not_stop_the_answer(pad: PinPad) -> None:
    pad.apply_fault("no-ack")
    assert pad.feed(admin("040"), 0.0) == admin("04F")


def test_an_opened_pad_has_no_keys_and_serves_nothing(pad: PinPad) -> None:
    pad.apply_fault("tamper")
    assert pad.feed(pin_request(), 0.0) == ACK + packet("719")
    assert pad.feed(mac_request(b"data"), 0.1) == ACK + packet("Z673")
    assert pad.feed(admin("020" + MASTER), 0.2) == ACK + EOT
    assert pad.state()["tampered"] is True


def test_keys_survive_a_brown_out_and_a_session_does_not(pad: PinPad) -> None:
    pad.person.plan("enter", after_s=2.0)
    pad.feed(pin_request(), 0.0)
    pad.apply_fault("brown-out", seconds=1.0)
    assert pad.feed(admin("040"), 0.5) == b""
    assert pad.tick(5.0) == b""
    assert pad.feed(admin("040"), 5.0) == ACK + admin("04F")


def test_an_unknown_packet_ends_with_eot(pad: PinPad) -> None:
    assert pad.feed(packet("Q9"), 0.0) == ACK + EOT


def test_no_key_and_no_pin_is_in_the_state(pad: PinPad) -> None:
    pad.person.plan("wait", pin="987654")
    pad.feed(pin_request(), 0.0)
    shown = str(pad.state())
    assert MASTER not in shown
    assert "987654" not in shown
    assert ACCOUNT not in shown


def test_an_impossible_key_is_a_clear_error() -> None:
    with pytest.raises(BenchError, match="no key slot 'Z'"):
        PinPad().load_key("Z", "master")
    with pytest.raises(BenchError, match="hexadecimal"):
        PinPad().load_key(0, "secret")


def test_half_a_packet_is_forgotten_after_a_pause(pad: PinPad) -> None:
    assert pad.feed(admin("04")[:3], 0.0) == b""
    # Without the pause these bytes would still belong to the packet that was cut off.
    assert pad.feed(b"0\x0e\x3a", 1.0) == b""
    assert pad.feed(admin("040"), 2.0) == ACK + admin("04F")


def test_a_display_text_with_a_fixed_prompt_is_confirmed(pad: PinPad) -> None:
    assert pad.feed(packet("Z2\x1d001"), 0.0) == ACK + packet("Z20")
    assert pad.feed(ACK, 0.1) == EOT


def test_rotating_texts_are_shown_and_reset_clears_them(pad: PinPad) -> None:
    pad.feed(packet("Z3\x1aONE\x1cTWO"), 0.0)
    assert pad.display == ["ONE", "TWO"]
    pad.feed(packet("Z1"), 0.1)
    assert pad.display == ["WELCOME"]
