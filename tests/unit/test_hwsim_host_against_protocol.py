"""The product's protocol layer and the simulated host, which share no code, understand each other byte for byte."""

from __future__ import annotations

import pytest

from hwsim.host.actions import Send
from hwsim.host.keys import UNIONPAY_MAK_DOUBLE, UNIONPAY_MAK_SINGLE
from hwsim.host.machine import HostMachine
from hwsim.host.settings import HostSettings
from protocol import mac
from protocol.envelope import EnvelopeReader, wrap
from protocol.iso8583 import Message
from protocol.matching import match_reply
from protocol.profile import Profile, load_profile
from protocol.requests import RequestFacts, build_network_message, build_request
from protocol.reversal import freeze, identity_of, render

NOW = 1_800_000_000.0
LANES = [
    ("unionpay-pos", HostSettings(mac_key=UNIONPAY_MAK_DOUBLE), UNIONPAY_MAK_DOUBLE),
    ("unionpay-pos", HostSettings(mac_key=UNIONPAY_MAK_SINGLE), UNIONPAY_MAK_SINGLE),
    ("unionpay-x919", HostSettings(mac="x919"), UNIONPAY_MAK_DOUBLE),
    ("nac-edc", HostSettings(dialect="nac-edc"), b""),
    ("iso87-ascii", HostSettings(dialect="iso87"), b""),
    ("iso93", HostSettings(dialect="iso93"), b""),
]
KINDS = ["sale", "void", "preauth", "preauth-void", "completion", "completion-void", "refund"]
ORIGINAL = {
    "rrn": "000000000077",
    "approval_code": "123456",
    "batch": "000017",
    "stan": "000077",
    "date": "0307",
    "time": "145500",
    "transmission": "0307065500",
}


def facts(kind: str, profile: str) -> RequestFacts:
    """ISO 8583:1993 wants 12 characters of entry mode."""
    return RequestFacts(
        kind,
        1234,
        stan="000123",
        batch="000017",
        terminal_id="10000001",
        merchant_id="123456789012345",
        local_date="0307",
        local_time="145619",
        transmission="0307065619",
        pan="6212345678900000003",
        expiry="3012",
        track2="6212345678900000003=30121010000012345",
        pos_entry_mode="510101511340" if profile == "iso93" else "051",
        card_sequence="001",
        chip_data="9F2608AABBCCDDEEFF0011" + "9505" + "0000008000" + "9F360200019F10030102039F1E083132333435363738",
        original=ORIGINAL,
        operator="001",
        acquirer="12345678",
        year="26",
    )


class Lane:
    """The product's profile on one side, the simulated host on the other."""

    def __init__(self, name: str, settings: HostSettings, key: bytes) -> None:
        self.profile: Profile = load_profile(name)
        self.host = HostMachine(settings)
        self._key = key

    def ask(self, body: bytes) -> Message:
        """The host's reply as the product reads it; its MAC is checked where there is one."""
        parts = mac.split(self.profile, body)
        if parts is not None:
            body = mac.place(self.profile, body, mac.compute(self.profile.mac, self._key, parts[0]))
        frame = wrap(self.profile, body)
        (action,) = self.host.handle(frame[2:], NOW) or list(self.host.transcript)
        assert isinstance(action, Send)
        (found,) = EnvelopeReader(self.profile).feed(action.data)
        answered = mac.split(self.profile, found.body)
        if answered is not None:
            assert mac.compute(self.profile.mac, self._key, answered[0]) == answered[1]
        return self.profile.codec.unpack(found.body)


@pytest.mark.parametrize(("name", "settings", "key"), LANES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_request_and_its_reversal_are_understood_and_matched(
    name: str, settings: HostSettings, key: bytes, kind: str
) -> None:
    lane = Lane(name, settings, key)
    request = build_request(lane.profile, facts(kind, name))
    reply = lane.ask(lane.profile.codec.pack(request))
    assert lane.profile.responses.request(reply.get(39)) == "approved"
    assert match_reply(identity_of(request), reply, lane.profile).grade == "full"
    assert [(row.kind, row.amount_minor, row.charges) for row in lane.host.ledger.rows()] == [(kind, 1234, 1)]
    if lane.profile.kinds[kind].on_unknown != "reverse":
        return
    frozen = freeze(request, lane.profile, "timeout", own_stan="000124")
    for repeat in (False, True, True):
        answer = lane.ask(render(frozen, repeat=repeat, stamp="0307065700", local="0307145700"))
        assert lane.profile.responses.reversal(answer.get(39)) == "done"
        assert match_reply(frozen.identity, answer, lane.profile).accepted
    (row,) = lane.host.ledger.rows()
    assert (row.state, row.charges, row.effects) == ("reversed", 1, 1)
    assert sum(lane.host.ledger.net().values()) == 0
    assert lane.host.ledger.violations() == []


@pytest.mark.parametrize(("name", "settings", "key"), LANES)
def test_a_reversal_that_overtakes_its_original_blocks_it(name: str, settings: HostSettings, key: bytes) -> None:
    lane = Lane(name, settings, key)
    request = build_request(lane.profile, facts("sale", name))
    answer = lane.ask(render(freeze(request, lane.profile, "timeout", own_stan="000124"), repeat=False))
    assert lane.profile.responses.reversal(answer.get(39)) in ("overtaken", "done", "park")
    late = lane.ask(lane.profile.codec.pack(request))
    assert lane.profile.responses.request(late.get(39)) == "declined"
    assert sum(lane.host.ledger.net().values()) == 0


@pytest.mark.parametrize(("name", "settings", "key"), LANES)
@pytest.mark.parametrize("message", ["sign-on", "echo"])
def test_network_messages_are_answered(name: str, settings: HostSettings, key: bytes, message: str) -> None:
    lane = Lane(name, settings, key)
    request = build_network_message(lane.profile, message, facts("sale", name))
    reply = lane.ask(lane.profile.codec.pack(request))
    assert reply.get(11) == request.get(11)
    assert reply.get(39) in ("00", "800")
