"""Golden messages written by hand from the rules, element by element: they hold on every machine, without any vector.

Bitmaps are worked out in the comments: byte 1 holds elements 1 to 8, its highest bit element 1, and so on.
"""

from __future__ import annotations

from protocol.iso8583 import Message
from protocol.mac import compute, mac_input, place
from protocol.matching import match_reply
from protocol.profile import Profile
from protocol.reversal import Learnt, freeze, render
from tests.unit.protocol_samples import MAC_KEY, facts, request_of, shipped

# "12345678" and "123456789012345" as ASCII; "156".
TERMINAL, MERCHANT, CNY = "3132333435363738", "313233343536373839303132333435", "313536"
PAN_BCD = "19 62123456789000000030"  # LL 19, 19 digits, one pad nibble 0 on the right


def _hex(*parts: str) -> bytes:
    return bytes.fromhex("".join(parts))


def _request(name: str, kind: str, **changes: object) -> tuple[Profile, Message]:
    return request_of(name, kind, **{"track2": "", "pin_block": "", "chip_data": "", "acquirer": "", **changes})


def test_a_unionpay_sale() -> None:
    profile, request = _request("unionpay-pos", "sale")
    assert profile.codec.pack(request) == _hex(
        "0200",
        # 2,3,4 → 70; 11,14 → 24; 22 → 04; 25 → 80; none → 00; 41,42 → C0; 49 → 80; 60,64 → 11
        "70 24 04 80 00 C0 80 11",
        PAN_BCD,
        "000000",  # 3: sale
        "000000012345",  # 4
        "000007",  # 11
        "3012",  # 14
        "0510",  # 22: 051 and a pad nibble on the right
        "00",  # 25
        TERMINAL,
        MERCHANT,
        CNY,
        "0008 22000042",  # 60: LLL 8 digits, type 22, batch 000042
        "0000000000000000",  # 64: room for the MAC
    )


def test_a_unionpay_reversal_of_a_sale_without_reply() -> None:
    profile, request = _request("unionpay-pos", "sale")
    frozen = freeze(request, profile, "timeout")
    expected = _hex(
        "0400",
        # as the sale, and 39 → 02
        "70 24 04 80 02 C0 80 11",
        PAN_BCD,
        "000000",
        "000000012345",
        "000007",  # 11: the sale's own number
        "3012",
        "0510",
        "00",
        "3938",  # 39: "98", no reply
        TERMINAL,
        MERCHANT,
        CNY,
        "0008 22000042",  # 60: the sale's batch
        "0000000000000000",
    )
    assert render(frozen, repeat=True) == expected  # sent again as it is: no 0401 at UnionPay
    # The MAC of the day, by the UnionPay rule over everything before element 64.
    code = compute(profile.mac, MAC_KEY, mac_input(profile.mac, expected))
    assert place(profile, expected, code) == expected[:-8] + code
    # A later attempt after a refusal says 06.
    assert render(frozen, repeat=False, reason_code="06") == expected.replace(b"98123", b"06123")


def test_a_unionpay_reversal_of_a_void_after_a_wrong_mac() -> None:
    profile, request = _request("unionpay-pos", "void")
    frozen = freeze(request, profile, "mac", Learnt(date="1122"))
    assert frozen.body == _hex(
        "0400",
        # 38,39 → 06; 60,61,64 → 19
        "70 24 04 80 06 C0 80 19",
        PAN_BCD,
        "200000",
        "000000012345",
        "000007",
        "3012",
        "0510",
        "00",
        "313233343536",  # 38: the sale's approval code, from the void's request
        "4130",  # 39: "A0", MAC wrong
        TERMINAL,
        MERCHANT,
        CNY,
        "0008 23000042",
        "0012 000042000007",  # 61: batch and number of the void itself
        "0000000000000000",
    )


def test_a_unionpay_reversal_of_a_completion_without_reply_has_date_0000() -> None:
    profile, request = _request("unionpay-pos", "completion")
    body = freeze(request, profile, "timeout").body
    assert body.endswith(_hex("0008 20000042", "0016 0000420000070000", "0000000000000000"))


def test_a_unionpay_acknowledgement() -> None:
    profile, request = _request("unionpay-pos", "sale")
    frozen = freeze(request, profile, "timeout")
    reply = _hex(
        "0410",
        # 3,4 → 30; 11,12,13 → 38; none; 25 → 80; 32,37,39 → 01 0A; 41,42 → C0; 49 → 80; 60,64 → 11
        "30 38 00 81 0A C0 80 11",
        "000000",
        "000000012345",
        "000007",
        "101010",
        "1122",
        "00",
        "08 01020304",  # 32: LL 8 digits
        "333231303938373635343332",  # 37: the reversal's own reference number
        "3030",
        TERMINAL,
        MERCHANT,
        CNY,
        "0008 22000042",
        "4142434445463031",
    )
    message = profile.codec.unpack(reply)
    assert message.get(37) == "321098765432"
    match = match_reply(frozen.identity, message, profile)
    assert (match.accepted, match.grade) == (True, "good")  # the card number is not echoed


def test_an_iso87_advice_and_its_repeat() -> None:
    profile, request = _request("iso87-ascii", "sale")
    frozen = freeze(request, profile, "timeout")
    text = (
        # 1,2,3,4,7 → F2; 11,12,13,14 → 3C; 22 → 04; 25 → 80; 39 → 02; 41,42 → C0; 49 → 80; none; 90 → 40 in byte 12
        "0420" + "F23C048002C08000" + "0000004000000000" + "196212345678900000003" + "000000" + "000000012345"
        "1122021010"
        + "000007"
        + "101010"
        + "1122"
        + "3012"
        + "051"
        + "00"
        + "68"
        + "12345678"
        + "123456789012345"
        + "156"
        # 90: original type, number, transmission time, acquirer and forwarder (none: zeros)
        + "0200"
        + "000007"
        + "1122021010"
        + "00000000000"
        + "00000000000"
    )
    assert frozen.body == text.encode()
    repeat = render(frozen, repeat=True, stamp="1122021510")
    # Only the type and the transmission time change: what names the original does not.
    assert repeat == ("0421" + text[4:].replace("1122021010", "1122021510", 1)).encode()


def test_a_nac_reversal() -> None:
    profile, request = _request("nac-edc", "sale")
    assert freeze(request, profile, "timeout").body == _hex(
        "0400",
        # 2,3,4 → 70; 11,14 → 24; 22,24 → 05; 25 → 80; none; 41,42 → C0; none; 62 → 04
        "70 24 05 80 00 C0 00 04",
        "19 06212345678900000003",  # padded on the left
        "000000",
        "000000012345",
        "000007",
        "3012",
        "0051",
        "0003",  # 24: NII
        "00",
        TERMINAL,
        MERCHANT,
        "0006 303030303037",  # 62: invoice as ASCII
    )


def test_an_iso93_advice() -> None:
    profile, request = _request("iso93", "sale")
    frozen = freeze(request, profile, "customer", own_stan="000008")
    text = (
        # 2,3,4,7 → 72; 11,12,14 → 34; 22,24 → 05; 25 → 80; none; 41,42 → C0; 49,56 → 81; none
        "1420" + "7234058000C08100" + "196212345678900000003" + "000000" + "000000012345" + "1122021010" + "000008"
        "261122101010"
        + "3012"
        + "210101213144"
        + "400"
        + "4000"
        + "12345678"
        + "123456789012345"
        + "156"
        # 56: LL 35: original type, number, local date and time, LL 11, acquirer (none: zeros)
        + "35"
        + "1200"
        + "000007"
        + "261122101010"
        + "11"
        + "00000000000"
    )
    assert frozen.body == text.encode()


def test_an_as2805_advice_has_a_mac_of_4_bytes() -> None:
    profile, request = _request("as2805-like", "sale")
    frozen = freeze(request, profile, "timeout")
    body = frozen.body
    # 1..4,7 → F2; 11..14 → 3C; 22 → 04; 25 → 80; none; 41,42 → C0; 49 → 80; none | 90 → 40 in byte 12; 128 → 01
    assert body.startswith(_hex("0420", "F23C048000C08000", "0000004000000001", "19 6212345678900000003F"))
    code = compute(profile.mac, MAC_KEY, mac_input(profile.mac, body))
    assert code[4:] == bytes(4)
    assert profile.codec.unpack(place(profile, body, code)).get(128) == code.hex().upper()


def test_the_same_facts_give_the_same_bytes() -> None:
    profile = shipped("unionpay-pos")
    again = freeze(request_of("unionpay-pos")[1], profile, "timeout")
    assert again == freeze(request_of("unionpay-pos")[1], profile, "timeout")
    assert facts(profile, "sale") == facts(profile, "sale")
