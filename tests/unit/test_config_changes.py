"""A reload cannot change what a pending reversal depends on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent.config import Configuration, Tls, effective, load, needs_restart, unsafe_changes
from tests.unit.config_samples import load_sample_profile, loaded


@pytest.fixture
def config(tmp_path: Path) -> Configuration:
    return loaded(tmp_path)


def with_lane(config: Configuration, **changes: Any) -> Configuration:
    """The same with changes in its first lane."""
    return replace(config, lanes=(replace(config.lanes[0], **changes), *config.lanes[1:]))


@pytest.mark.parametrize(
    "changes",
    [
        {"terminal_id": "99999999"},
        {"merchant_id": "999999999999999"},
        {"profile": "other"},
        {"hosts": ("127.0.0.1:5000",)},
        {"hosts": ("10.0.0.1:1", "10.0.0.2:1")},
        {"mac": "none"},
        {"mac_key": "00" * 16},
        {"mac_key_file": Path("/other")},
        {"batch": "000002"},
        {"tls": Tls(system_ca=True)},
    ],
)
def test_a_lane_with_pending_items_keeps_its_identity(config: Configuration, changes: dict[str, Any]) -> None:
    new = with_lane(config, **changes)
    (sentence,) = unsafe_changes(config, new, {"till-1"})
    assert sentence.startswith(f"lane till-1: {next(iter(changes))}")


def test_another_key_under_the_old_name_is_another_key(tmp_path: Path) -> None:
    before = loaded(tmp_path)
    file = before.lanes[0].mac_key_file
    assert file is not None
    file.write_text("11" * 16)
    after = load(before.source, load_sample_profile)
    assert unsafe_changes(before, after, {"till-1"}) == [
        "lane till-1: the key in mac_key_file cannot change while it has pending reversals"
    ]
    assert unsafe_changes(before, after, {"till-2"}) == []
    assert unsafe_changes(after, load(before.source, load_sample_profile), {"till-1"}) == []
    assert "key_prints" not in repr(after) + effective(after)


def test_a_lane_without_pending_items_may_change(config: Configuration) -> None:
    new = with_lane(config, terminal_id="99999999", hosts=("10.0.0.1:1",))
    assert unsafe_changes(config, new, {"till-2"}) == []
    assert unsafe_changes(config, new, set()) == []


def test_a_lane_with_pending_items_cannot_disappear(config: Configuration) -> None:
    (sentence,) = unsafe_changes(config, replace(config, lanes=config.lanes[1:]), {"till-1"})
    assert "cannot be removed or renamed" in sentence


def test_a_further_host_may_be_added_while_something_is_pending(config: Configuration) -> None:
    new = with_lane(config, hosts=(*config.lanes[0].hosts, "10.0.0.9:5000"))
    assert unsafe_changes(config, new, {"till-1"}) == []


def test_retry_rules_and_policy_may_change_at_any_time(config: Configuration) -> None:
    new = with_lane(config, retry=replace(config.lanes[0].retry, cap_s=10.0))
    new = replace(new, policy=replace(new.policy, confirm="on-approval"))
    assert unsafe_changes(config, new, {"till-1", "till-2"}) == []


def test_the_store_cannot_move_while_something_is_pending(config: Configuration) -> None:
    new = replace(config, journal=replace(config.journal, path=Path("/elsewhere")))
    assert unsafe_changes(config, new, {"till-1"}) == ["journal.path: cannot change while something is pending"]
    assert unsafe_changes(config, new, set()) == []


def test_a_hidden_key_stays_hidden_in_the_reason(config: Configuration) -> None:
    (sentence,) = unsafe_changes(config, with_lane(config, mac_key="AB" * 16), {"till-1"})
    assert "ABAB" not in sentence


def test_places_of_the_daemon_need_a_restart(config: Configuration) -> None:
    new = replace(config, agent=replace(config.agent, socket_group="pos", log_level="debug"))
    assert needs_restart(config, new) == ["agent.socket_group"]
    assert needs_restart(config, config) == []
