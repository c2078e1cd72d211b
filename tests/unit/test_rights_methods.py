"""Rights go by the kernel's word on the peer; what nobody thought about is closed."""

from __future__ import annotations

import grp
import logging
import os
import pwd

import pytest

from agent.config_schema import Rights as RightsSettings
from agent.rights import METHODS, STRONGEST, Pace, Rights, RightsError
from agent.rpc import Peer
from tests.unit.test_rights_server import api_methods

STRANGER = Peer(pid=1, uid=54321, gid=54321, name="uid 54321")
NOBODY = pwd.getpwnam("nobody")
GROUP = grp.getgrgid(NOBODY.pw_gid).gr_name


def allowed(rights: Rights, peer: Peer, method: str) -> bool:
    """Whether the check lets the peer through."""
    try:
        rights.check(peer, method)
    except RightsError:
        return False
    return True


def settings(**lists: tuple[str, ...]) -> RightsSettings:
    """Nobody may do anything but what is given."""
    closed: dict[str, tuple[str, ...]] = {"read": (), "sell": (), "act": (), "settle": ()}
    return RightsSettings(**{**closed, **lists})  # type: ignore[arg-type]


def test_root_and_the_daemons_own_user_are_never_locked_out() -> None:
    rights = Rights(settings(), own_uid=1234)
    for uid in (0, 1234):
        assert allowed(rights, Peer(1, uid, uid, "x"), "reversal.settle")
    assert not allowed(rights, STRANGER, "agent.status")


@pytest.mark.parametrize("right", ["read", "sell", "act", "settle"])
def test_each_right_opens_its_own_methods_and_no_other(right: str) -> None:
    rights = Rights(settings(**{right: ("nobody",)}), own_uid=1)
    peer = Peer(1, NOBODY.pw_uid, 54321, "nobody")
    for method in [*METHODS, "reversal.settle", "a.method.of.tomorrow"]:
        assert allowed(rights, peer, method) == (METHODS.get(method, STRONGEST) == right), method


def test_a_group_counts_also_where_it_is_not_the_first_one() -> None:
    rights = Rights(settings(act=(f"%{GROUP}",)), own_uid=1)
    member = Peer(1, 54321, 54321, "x", frozenset({54321, NOBODY.pw_gid}))
    assert allowed(rights, member, "reversal.retry")
    assert not allowed(rights, STRANGER, "reversal.retry")


def test_a_user_who_bears_a_groups_name_is_no_member() -> None:
    rights = Rights(settings(act=("%no-such-group-here", "no-such-user-here")), own_uid=1)
    assert not allowed(rights, STRANGER, "reversal.retry")


def test_by_default_anybody_sells_and_looks_and_only_named_people_act_and_settle() -> None:
    rights = Rights(RightsSettings(), own_uid=os.geteuid())
    assert allowed(rights, STRANGER, "agent.status")
    assert allowed(rights, STRANGER, "transaction.run")
    for method in ("reversal.retry", "agent.reload", "reversal.settle", "journal.export", "keys.rotate"):
        assert not allowed(rights, STRANGER, method), method


def test_a_refusal_names_the_user_the_method_and_the_next_step(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING), pytest.raises(RightsError) as caught:
        Rights(settings(settle=("%bank",)), own_uid=1).check(STRANGER, "reversal.settle")
    assert caught.value.code == "A-RIGHTS"
    assert "%bank" in caught.value.hint
    assert "uid 54321" in caplog.text
    assert "reversal.settle" in caplog.text


def test_every_method_of_the_api_has_a_right_that_somebody_thought_about() -> None:
    journal = {"journal.export", "journal.archive"}
    keys = {"keys.rotate", "keys.destroy", "keys.wrap", "keys.unwrap"}
    strongest = {"reversal.settle", "reversal.confirm"} | journal | keys
    without = api_methods() - set(METHODS) - strongest
    assert without == set(), f"give {sorted(without)} a row in agent/rights.py"


def test_a_fast_user_waits_and_another_does_not() -> None:
    now = 100.0
    pace = Pace(10, lambda: now)
    assert [pace.wait_s(1) for _ in range(10)] == [0.0] * 10
    assert pace.wait_s(1) == pytest.approx(0.1)
    assert pace.wait_s(2) == 0.0
    now = 102.0
    assert pace.wait_s(1) == 0.0


def test_the_pace_of_many_users_does_not_fill_the_memory() -> None:
    now = 100.0
    pace = Pace(10, lambda: now)
    for uid in range(10_000):
        now += 0.2
        pace.wait_s(uid)
    assert len(pace._free_at) <= 300
