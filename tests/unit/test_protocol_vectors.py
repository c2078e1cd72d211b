"""Published messages and MACs (../shared/vectors/published.json): decode = stated values, encode = same bytes."""

from __future__ import annotations

from typing import Any

import pytest

from protocol.ciphers import des_decrypt
from protocol.envelope import EnvelopeReader, wrap
from protocol.errors import FrameError
from protocol.iso8583 import Message
from protocol.mac import compute, key_check_value, mac_input, prepare, split, unwrap_working_keys
from protocol.profile import load_profile
from protocol.requests import RequestFacts, build_network_message, build_request
from protocol.reversal import freeze, render
from protocol.rules import MacRules
from tests.unit.protocol_samples import TEST_PROFILES, vector, vectors

# Which profile reads which message.
READERS = {
    "up_0400_sale_noPAN_jundu": "unionpay-pos",
    "up_0400_sale_ajsgn_x919": "unionpay-x919",
    "up_0400_cmbc_mocredit": "cmbc-like",
    "up_0410_cmbc": "cmbc-like",
    "up_0210_cmbc_sale": "cmbc-like",
    "up_0800_signin_ajsgn": "unionpay-pos",
    "up_0810_signin_ajsgn": "unionpay-pos",
    "up_0800_signin_epoint": "unionpay-pos",
    "nac_0400_binary": "nac-edc",
    "nac_like_0800_zoukankan": "nac-edc",
    "ascii_0200_david": "iso87-ascii",
    "ascii_0210_david": "iso87-ascii",
    "ascii_0420_david": "iso87-ascii",
    "ascii_0430_david": "iso87-ascii",
    "ascii_0420_mcn": "iso87-ascii",
    "ascii_0210_mcn_a": "iso87-ascii",
    "ascii_0800_mcn": "iso87-ascii",
    # iso93 itself follows the standard, where 62 and 63 are of variable length; the sample has them fixed.
    "1993_1420_fluidpay": "iso93-epoc",
}
# Messages whose frame no profile reads, and why; their bodies are read all the same.
NO_FRAME = {
    "up_0800_signin_epoint": "published without the 2-byte length",
    "nac_like_0800_zoukankan": "its length counts hexadecimal characters, and it has a 2-byte header",
}
MACS = {
    "mac_up_ecb_des_pgate": ("up-ecb", "hex8"),
    "mac_x919_ajsgn_0400": ("x919", "binary8"),
    "mac_iso9797_alg3_pad1_24": ("iso9797-3-pad1", "binary8"),
    "mac_iso9797_alg3_pad2_24": ("iso9797-3-pad2", "binary8"),
    "mac_iso9797_alg3_icao9303": ("iso9797-3-pad2", "binary8"),
    "mac_x919_ascii8_dart_4": ("x919", "hex8"),
    "mac_x99_cbc_fips113": ("x99", "binary8"),
    "mac_x99_cbc_24": ("x99", "binary8"),
}
# A value without its data or key: nothing can be computed.
MACS_WITHOUT_DATA = {"mac_x919_zero_pad_py": "the data is not published"}
KEYS = {"key_signin_unwrap_ajsgn", "key_3des_pgate"}


def _body(entry: dict[str, Any]) -> bytes:
    """The message from the MTI on: what stands before it is cut by the lengths that the vector states."""
    raw = bytes.fromhex(entry["hex"])
    length = 2 if "length_prefix" in entry else 0
    before = length + (len(entry.get("tpdu") or "") + len(entry.get("header") or "")) // 2
    return raw[before:]


@pytest.mark.skipif(not vectors(), reason="the published vectors (../shared/vectors) are not on this machine")
def test_every_published_vector_is_looked_at() -> None:
    names = {entry["name"] for entry in vectors()}
    assert names == set(READERS) | set(MACS) | set(MACS_WITHOUT_DATA) | KEYS


@pytest.mark.parametrize("name", READERS)
def test_a_published_message_decodes_to_the_stated_values_and_back_to_its_bytes(name: str) -> None:
    entry = vector(name)
    codec = load_profile(READERS[name], [TEST_PROFILES]).codec
    message = codec.unpack(_body(entry))
    assert message.mti == entry["mti"]
    assert dict(message.fields) == {int(number): field["value"] for number, field in entry["fields"].items()}
    assert codec.pack(message) == _body(entry)


@pytest.mark.parametrize("name", [name for name in READERS if name[:3] in ("up_", "nac") and name not in NO_FRAME])
def test_a_published_frame_opens_and_closes_again(name: str) -> None:
    entry = vector(name)
    profile = load_profile(READERS[name])
    raw = bytes.fromhex(entry["hex"])
    (frame,) = EnvelopeReader(profile).feed(raw)
    assert frame.tpdu.hex().upper() == entry["tpdu"]
    assert frame.header.hex().upper() == entry.get("header", "")
    assert frame.body == _body(entry)
    if frame.header in (b"", profile.envelope.header):  # a reply's header differs from what we send
        assert wrap(profile, frame.body, frame.tpdu) == raw


def test_a_published_reply_asks_for_requirement_7() -> None:
    raw = bytes.fromhex(vector("up_0210_cmbc_sale")["hex"])
    assert EnvelopeReader(load_profile("cmbc-like")).feed(raw)[0].processing_requirement == 7


def test_a_length_that_counts_characters_never_gives_a_message() -> None:
    raw = bytes.fromhex(vector("nac_like_0800_zoukankan")["hex"])
    reader = EnvelopeReader(load_profile("nac-edc"))
    assert reader.feed(raw) == []
    assert reader.partial
    with pytest.raises(FrameError):
        EnvelopeReader(load_profile("unionpay-pos")).feed(bytes.fromhex("0000"))


@pytest.mark.parametrize("name", MACS)
def test_a_published_mac_is_reproduced(name: str) -> None:
    entry = vector(name)
    algorithm, output = MACS[name]
    fields = entry["fields"]
    key = bytes.fromhex(fields["key"]["value"])
    found = compute(MacRules(algorithm=algorithm, output=output), key, bytes.fromhex(entry["hex"]))
    expected = fields["expected"]["value"]
    assert found == (expected.encode() if output == "hex8" else bytes.fromhex(expected))


def test_the_steps_of_the_published_ecb_mac_are_the_stated_ones() -> None:
    entry = vector("mac_up_ecb_des_pgate")
    core, fed = prepare(MacRules(algorithm="up-ecb"), bytes.fromhex(entry["hex"]))
    assert core == "cbc"
    assert fed.decode() == entry["fields"]["xor"]["value"]


def test_a_published_reversal_carries_the_mac_that_it_should() -> None:
    entry = vector("up_0400_sale_ajsgn_x919")
    profile = load_profile("unionpay-x919")
    parts = split(profile, _body(entry))
    assert parts is not None
    data, found = parts
    assert data == bytes.fromhex(entry["mac_input"]) == mac_input(profile.mac, _body(entry))
    assert found == compute(profile.mac, bytes.fromhex(entry["mac"]["key"]), data)


def test_the_published_x919_reversal_is_made_from_its_sale_byte_for_byte() -> None:
    # F61 holds 233415 0529: the sale's time and date. F12 and F13 hold the reversal's own: 233521 0529.
    entry = vector("up_0400_sale_ajsgn_x919")
    profile = load_profile("unionpay-x919")
    value = {int(number): field["value"] for number, field in entry["fields"].items()}
    sale = build_request(
        profile,
        RequestFacts(
            kind="sale",
            amount_minor=500,
            stan=value[11],
            batch="160529",
            terminal_id=value[41],
            merchant_id=value[42],
            pan=value[2],
            pos_entry_mode="021",
            local_time="233415",
            local_date="0529",
        ),
    ).with_fields({25: "65"})
    frozen = freeze(sale, profile, "timeout")
    body = render(frozen, repeat=False, local="0529233521")
    assert body[:-8] == bytes.fromhex(entry["mac_input"])


def test_the_published_sign_on_is_built_from_its_facts() -> None:
    entry = vector("up_0800_signin_epoint")
    profile = load_profile("unionpay-pos")
    known = RequestFacts(
        kind="", stan="007882", terminal_id="30010268", merchant_id="301430159470006", batch="000001", operator="001"
    )
    message = build_network_message(profile, "sign-on", known)
    assert profile.codec.pack(message) == _body(entry)


def test_published_working_keys_unwrap_and_a_wrong_check_value_does_not() -> None:
    fields = vector("key_signin_unwrap_ajsgn")["fields"]
    master = bytes.fromhex(fields["master"]["value"])
    parts = [int(fields[part]["value"], 16) for part in ("part1", "part2")]
    assert (parts[0] ^ parts[1]).to_bytes(16, "big") == master
    for part in ("part1", "part2", "pik", "mak"):
        assert key_check_value(bytes.fromhex(fields[part]["value"])) == fields[part]["check"]
    block = fields["pik_block"]["value"] + vector("key_signin_unwrap_ajsgn")["hex"]
    keys = unwrap_working_keys(block, master)
    assert keys.pik.hex().upper() == fields["pik"]["value"]
    assert keys.mak.hex().upper() == fields["mak"]["value"]
    assert keys.tdk == b""


def test_a_published_key_encryption_is_reproduced() -> None:
    entry = vector("key_3des_pgate")
    fields = entry["fields"]
    key, expected = bytes.fromhex(fields["key"]["value"]), bytes.fromhex(fields["expected"]["value"])
    assert des_decrypt(key, expected) == bytes.fromhex(entry["hex"])


def test_the_published_host_adopts_another_batch_at_sign_on() -> None:
    profile = load_profile("unionpay-pos")
    reply = profile.codec.unpack(_body(vector("up_0810_signin_ajsgn")))
    assert profile.session.batch_at is not None
    assert profile.session.batch_at.of(reply.get(60)) == "000042"
    assert isinstance(reply, Message)
