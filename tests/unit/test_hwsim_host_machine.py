"""The simulated host as a pure state machine: replies of each dialect, rules, MACs, sign-on, settlement."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hwsim.host import keys, macs
from hwsim.host.actions import Send
from hwsim.host.codec import HostMessage
from hwsim.host.dialects import DIALECTS
from hwsim.host.machine import HostMachine
from hwsim.host.settings import HostSettings
from hwsim.host.terminal import CARD, BenchTerminal
from protocol.errors import MacError

NOW = 1_800_000_000.0
"""2027-01-15 16:00:00 in China."""


class Bench:
    """A machine and a terminal that agree on their settings."""

    def __init__(self, settings: HostSettings) -> None:
        self.machine = HostMachine(settings)
        self.terminal = BenchTerminal(settings)

    def raw(self, message: HostMessage, now: float = NOW) -> bytes:
        """The reply's payload to one message."""
        actions = self.machine.handle(self.terminal.frame(message)[2:], now)
        assert len(actions) == 1
        assert isinstance(actions[0], Send)
        assert int.from_bytes(actions[0].data[:2], "big") == len(actions[0].data) - 2
        return actions[0].data[2:]

    def ask(self, message: HostMessage, now: float = NOW) -> HostMessage:
        return self.terminal.read(self.raw(message, now))


def bench(dialect: str = "unionpay", **changes: object) -> Bench:
    return Bench(replace(HostSettings(dialect=dialect), **changes))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", DIALECTS)
@pytest.mark.parametrize("mac", ["none", "up-ecb", "x919"])
def test_every_dialect_charges_and_reverses_once(name: str, mac: str) -> None:
    host = bench(name, mac=mac)
    sale = host.terminal.sale("000001", 1234)
    assert host.machine.dialect.is_approval(host.ask(sale).get(39))
    assert host.machine.ledger.net() == {"156": 1234}
    first = host.ask(host.terminal.reversal(sale))
    again = host.ask(host.terminal.reversal(sale, repeat=True))
    assert first.get(39) == again.get(39)
    assert host.machine.dialect.is_approval(first.get(39))
    row = host.machine.ledger.rows()[0]
    assert (row.charges, row.effects, row.reversals, row.repeats) == (1, 1, 1, 1)
    assert host.machine.ledger.violations() == []


@pytest.mark.parametrize(
    ("name", "sale", "reversal"),
    [
        ("unionpay", "0210", "0410"),
        ("nac-edc", "0210", "0410"),
        ("iso87", "0210", "0430"),
        ("iso93", "1210", "1430"),
    ],
)
def test_the_reply_says_what_it_answers(name: str, sale: str, reversal: str) -> None:
    host = bench(name)
    request = host.terminal.sale("000001", 1234)
    assert host.ask(request).mti == sale
    reply = host.ask(host.terminal.reversal(request))
    assert reply.mti == reversal
    for number in (4, 11, 41, 42):
        assert reply.get(number) == request.get(number)


def test_unionpay_replies_carry_the_elements_of_the_published_pair() -> None:
    """The CMBC 0210/0410: F12 and F13 of the 0410 are the sale's, F37 is new, F38 only in the 0210."""
    host = bench()
    sale = host.terminal.sale("000005", 100).changed({14: "3406"})
    approved = host.ask(sale)
    assert set(approved.fields) == {2, 3, 4, 11, 12, 13, 14, 15, 25, 32, 37, 38, 39, 41, 42, 44, 49, 60, 63, 64}
    reversed_ = host.ask(host.terminal.reversal(sale), NOW + 60)
    assert set(reversed_.fields) == {2, 3, 4, 11, 12, 13, 14, 15, 25, 32, 37, 39, 41, 42, 44, 49, 60, 64}
    assert (approved.get(12), approved.get(13)) == ("160000", "0115")
    assert (reversed_.get(12), reversed_.get(13)) == ("160000", "0115")
    assert len(approved.get(37)) == 12
    assert reversed_.get(37) != approved.get(37)
    assert len(approved.get(44)) == 25


def test_a_card_read_from_track_2_comes_back_in_element_2() -> None:
    host = bench()
    sale = host.terminal.sale("000005", 100).changed({2: None, 35: f"{CARD}=3012"})
    assert host.ask(sale).get(2) == CARD


def test_an_amount_ending_in_51_is_declined_and_charges_nothing() -> None:
    host = bench()
    reply = host.ask(host.terminal.sale("000001", 1251))
    assert (reply.get(39), reply.get(38)) == ("51", "")
    assert host.machine.ledger.net() == {"156": 0}


def test_a_decline_is_reversed_without_effect() -> None:
    host = bench()
    sale = host.terminal.sale("000001", 1251)
    host.ask(sale)
    assert host.ask(host.terminal.reversal(sale)).get(39) == "00"
    assert host.machine.ledger.rows()[0].effects == 0


def test_other_decline_rules_can_be_set() -> None:
    host = bench(decline_amounts={"54": "54"})
    assert host.ask(host.terminal.sale("000001", 1254)).get(39) == "54"
    assert host.ask(host.terminal.sale("000002", 1251)).get(39) == "00"


MAC_CASES = [
    ("unionpay", "up-ecb", keys.UNIONPAY_MAK_DOUBLE),
    ("unionpay", "up-ecb", keys.UNIONPAY_MAK_SINGLE),
    ("unionpay", "x919", keys.UNIONPAY_MAK_DOUBLE),
    ("iso87", "x919", keys.ISO87_X919_KEY),
    ("iso93", "x919-hex8", keys.ISO87_X919_KEY),
]


@pytest.mark.parametrize(("name", "mac", "key"), MAC_CASES)
def test_approvals_carry_a_mac_that_verifies(name: str, mac: str, key: bytes) -> None:
    host = bench(name, mac=mac, mac_key=key)
    assert host.terminal.mac_is_right(host.raw(host.terminal.sale("000001", 1234)))


@pytest.mark.parametrize(("name", "mac", "key"), MAC_CASES)
def test_a_wrong_mac_is_refused_and_nothing_is_booked(name: str, mac: str, key: bytes) -> None:
    host = bench(name, mac=mac, mac_key=key)
    host.terminal.key = bytes(reversed(key))
    sale = host.terminal.sale("000001", 1234)
    refused = {"unionpay": "A0", "iso87": "63", "iso93": "916"}[name]
    assert host.ask(sale).get(39) == refused
    assert host.ask(host.terminal.reversal(sale)).get(39) == refused
    assert host.machine.ledger.rows() == []
    assert host.machine.stats["mac-wrong"] == 2


def test_a_missing_mac_is_refused() -> None:
    host = bench()
    bare = bench(mac="none").terminal
    payload = bare.frame(bare.sale("000001", 1234))[2:]
    action = host.machine.handle(payload, NOW)[0]
    assert isinstance(action, Send)
    assert host.terminal.read(action.data[2:]).get(39) == "A0"


def test_declines_carry_a_mac_only_when_the_host_is_set_so() -> None:
    assert bench().ask(bench().terminal.sale("000001", 1251)).get(64) == ""
    host = bench(mac_on_all_replies=True)
    assert host.terminal.mac_is_right(host.raw(host.terminal.sale("000001", 1251)))


def test_iso87_puts_the_mac_of_a_reversal_into_element_128() -> None:
    host = bench("iso87", mac="x919")
    sale = host.terminal.sale("000001", 1234)
    assert host.ask(sale).get(64)
    reply = host.ask(host.terminal.reversal(sale))
    assert len(reply.get(128)) == 16
    assert reply.get(64) == ""


def test_iso87_finds_the_original_by_de_90_whatever_stan_the_reversal_has() -> None:
    host = bench("iso87")
    sale = host.terminal.sale("000001", 1234)
    host.ask(sale)
    assert host.ask(host.terminal.reversal(sale, own_stan="000777")).get(39) == "00"
    assert host.machine.ledger.net() == {"156": 0}


def test_iso87_with_another_time_in_de_90_is_another_original() -> None:
    host = bench("iso87")
    sale = host.terminal.sale("000001", 1234)
    host.ask(sale)
    other = host.terminal.reversal(sale).changed({90: "0200" + "000001" + "0307145620" + "0" * 22})
    assert host.ask(other).get(39) == "25"
    assert host.machine.ledger.net() == {"156": 1234}


def test_iso87_partial_reversal() -> None:
    host = bench("iso87")
    sale = host.terminal.sale("000001", 1000)
    host.ask(sale)
    host.ask(host.terminal.reversal(sale).changed({95: "000000000300" + "0" * 30}))
    assert host.machine.ledger.net() == {"156": 300}


def test_iso87_preauthorisations_are_held_not_taken() -> None:
    host = bench("iso87")
    preauth = host.terminal.sale("000001", 1000).changed({}, mti="0100")
    host.ask(preauth)
    assert (host.machine.ledger.net(), host.machine.ledger.held()) == ({"156": 0}, {"156": 1000})
    host.ask(host.terminal.reversal(preauth))
    assert host.machine.ledger.held() == {"156": 0}


@pytest.mark.parametrize(
    ("transaction_type", "kind"),
    [("22", "sale"), ("23", "void"), ("10", "preauth"), ("11", "preauth-void"), ("20", "completion"), ("25", "refund")],
)
def test_unionpay_kinds_come_from_element_60(transaction_type: str, kind: str) -> None:
    host = bench()
    host.ask(host.terminal.sale("000001", 1000, transaction_type))
    assert host.machine.ledger.rows()[0].kind == kind


def test_iso93_speaks_three_digit_codes() -> None:
    host = bench("iso93")
    sale = host.terminal.sale("000001", 1000)
    assert host.ask(host.terminal.reversal(sale)).get(39) == "480"
    assert host.ask(sale).get(39) == "902"
    assert host.ask(host.terminal.sale("000002", 1251)).get(39) == "116"


def test_iso93_can_answer_914_to_an_unknown_reversal() -> None:
    host = bench("iso93", unknown_reversal="914")
    assert host.ask(host.terminal.reversal(host.terminal.sale("000001", 1000))).get(39) == "914"


def test_iso93_echo_is_1804() -> None:
    host = bench("iso93")
    reply = host.ask(HostMessage("1804", {7: "0921073300", 11: "000200", 12: "260921073300", 24: "831"}))
    assert (reply.mti, reply.get(39), reply.get(24)) == ("1814", "800", "831")


def test_de_90_of_a_void_names_the_sale_and_not_the_void() -> None:
    host = bench("iso87")
    sale = host.terminal.sale("000001", 1000)
    void = host.terminal.sale("000002", 1000).changed({3: "020000", 90: "02000000010307145619" + "0" * 22})
    host.ask(sale)
    assert host.ask(void).get(39) == "00"
    assert [(row.kind, row.key.stan) for row in host.machine.ledger.rows()] == [("sale", "000001"), ("void", "000002")]
    assert host.machine.ledger.net() == {"156": 0}
    assert host.ask(host.terminal.reversal(void)).get(39) == "00"
    assert host.machine.ledger.net() == {"156": 1000}


@pytest.mark.parametrize(
    ("name", "mti", "changes", "kind"),
    [
        ("iso87", "0200", {3: "000000", 25: "06"}, "completion"),
        ("iso87", "0200", {3: "020000", 25: "06"}, "completion-void"),
        ("iso87", "0100", {3: "020000", 25: "06"}, "preauth-void"),
        ("iso93", "1200", {24: "201"}, "completion"),
        ("iso93", "1100", {}, "preauth"),
        ("nac-edc", "0100", {3: "030000"}, "preauth"),
        ("nac-edc", "0220", {25: "06"}, "completion"),
        ("nac-edc", "0200", {3: "200000"}, "refund"),
    ],
)
def test_kinds_come_from_processing_code_class_and_condition(
    name: str, mti: str, changes: dict[int, str], kind: str
) -> None:
    host = bench(name)
    host.ask(host.terminal.sale("000001", 1000).changed(changes, mti=mti))
    assert host.machine.ledger.rows()[0].kind == kind


def test_iso87_echo() -> None:
    host = bench("iso87")
    reply = host.ask(HostMessage("0800", {7: "0921073300", 11: "000200", 70: "301"}))
    assert (reply.mti, reply.get(39), reply.get(70), reply.get(11)) == ("0810", "00", "301", "000200")


def test_unionpay_echo() -> None:
    host = bench()
    reply = host.ask(host.terminal.sign_on("000001", "301", mti="0820"))
    assert (reply.mti, reply.get(39)) == ("0830", "00")


@pytest.mark.parametrize("with_mac", [True, False])
def test_script_results_are_accepted_with_and_without_a_mac(with_mac: bool) -> None:
    host = bench()
    sender = host.terminal if with_mac else bench(mac="none").terminal
    notice = sender.sale("000001", 1000).changed({61: "0000010000010307"}, mti="0620")
    (action,) = host.machine.handle(sender.frame(notice)[2:], NOW)
    assert isinstance(action, Send)
    reply = host.terminal.read(action.data[2:])
    assert (reply.mti, reply.get(39)) == ("0630", "00")
    assert host.machine.ledger.rows() == []


def unwrapped(block: bytes) -> bytes:
    return macs.decrypt(keys.UNIONPAY_MASTER_KEY, block)


def test_sign_on_gives_double_length_keys_with_check_values() -> None:
    reply = bench().ask(bench().terminal.sign_on("000001"))
    element = bytes.fromhex(reply.get(62))
    assert (reply.mti, reply.get(39), len(element)) == ("0810", "00", 40)
    pik, mak = unwrapped(element[:16]), unwrapped(element[20:36])
    assert pik == keys.UNIONPAY_PIK
    assert mak == keys.UNIONPAY_MAK_DOUBLE
    assert (element[16:20], element[36:]) == (macs.check_value(pik), macs.check_value(mak))


def test_sign_on_gives_a_single_length_mac_key_followed_by_zeros() -> None:
    host = bench(mac_key=keys.UNIONPAY_MAK_SINGLE)
    element = bytes.fromhex(host.ask(host.terminal.sign_on("000001")).get(62))
    assert unwrapped(element[20:28]) == keys.UNIONPAY_MAK_SINGLE
    assert element[28:36] == bytes(8)
    assert element[36:] == macs.check_value(keys.UNIONPAY_MAK_SINGLE)


@pytest.mark.parametrize(("network_code", "length"), [("001", 24), ("003", 40), ("004", 60)])
def test_the_network_code_chooses_the_form_of_the_keys(network_code: str, length: int) -> None:
    host = bench()
    assert len(host.ask(host.terminal.sign_on("000001", network_code)).get(62)) == 2 * length


def test_rotated_keys_are_in_force_after_sign_on() -> None:
    host = bench(rotate_keys=True)
    old = host.terminal.sale("000001", 1000)
    assert host.ask(old).get(39) == "00"
    element = bytes.fromhex(host.ask(host.terminal.sign_on("000002")).get(62))
    assert host.ask(host.terminal.reversal(old)).get(39) == "A0"
    host.terminal.key = unwrapped(element[20:36])
    assert host.ask(host.terminal.reversal(old)).get(39) == "00"


def test_the_batch_of_the_host_comes_with_sign_on_and_moves_on_after_settlement() -> None:
    host = bench(check_batch=True)
    host.terminal.batch = "000172"
    assert host.ask(host.terminal.sale("000001", 1000)).get(39) == "77"
    assert host.ask(host.terminal.sign_on("000002")).get(60) == "00000001003"
    host.terminal.batch = "000001"
    assert host.ask(host.terminal.sale("000003", 1000)).get(39) == "00"
    assert host.ask(settlement(host, 1000, 1)).get(48)[30] == "1"
    assert host.ask(host.terminal.sign_on("000005")).get(60) == "00000002003"


def settlement(host: Bench, debit_minor: int, debits: int) -> HostMessage:
    sums = f"{debit_minor:012d}{debits:03d}" + "0" * 15 + "0"
    elements = {11: "000004", 41: host.terminal.terminal_id, 42: host.terminal.merchant_id, 48: sums + "0" * 31}
    return HostMessage("0500", {**elements, 49: "156", 60: "00" + host.terminal.batch + "201"})


def test_settlement_says_whether_the_totals_agree_and_has_no_response_code() -> None:
    host = bench()
    host.ask(host.terminal.sale("000001", 1000))
    reply = host.ask(settlement(host, 999, 1))
    assert (reply.mti, reply.get(39), reply.get(48)[30]) == ("0510", "", "2")


def test_trading_before_sign_on_is_refused_when_the_host_is_set_so() -> None:
    host = bench(require_sign_on=True)
    assert host.ask(host.terminal.sale("000001", 1000)).get(39) == "77"
    host.ask(host.terminal.sign_on("000002"))
    assert host.ask(host.terminal.sale("000003", 1000)).get(39) == "00"


def test_a_processing_requirement_stands_in_the_header() -> None:
    host = bench(processing_requirement=3)
    assert host.raw(host.terminal.sale("000001", 1000))[5:11].hex() == "603103310000"


@pytest.mark.parametrize(
    "payload", [b"", b"\x60\x00", bytes(40), b"\xff" * 40, bytes.fromhex("6000030000603100310000") * 3]
)
def test_what_cannot_be_read_is_counted_and_not_answered(payload: bytes) -> None:
    host = bench()
    assert host.machine.handle(payload, NOW) == []
    assert host.machine.stats["damaged"] == 1
    assert [found.name for found in host.machine.ledger.violations()] == ["damaged-message"]


def test_a_reply_sent_to_the_host_is_not_answered() -> None:
    host = bench()
    reply = host.terminal.sale("000001", 1000).changed({}, mti="0210")
    assert host.machine.handle(host.terminal.frame(reply)[2:], NOW) == []
    assert host.machine.stats["damaged"] == 1


def test_the_transcript_shows_no_card_number() -> None:
    host = bench()
    host.ask(host.terminal.sale("000001", 1000))
    assert CARD not in " ".join(host.machine.transcript)
    assert "620000******0005" in host.machine.transcript[0]


def test_an_unknown_mac_algorithm_is_refused_at_once() -> None:
    with pytest.raises(MacError, match="unknown MAC algorithm"):
        HostMachine(HostSettings(mac="rot13"))
