"""What a reload may not change: while something is pending, and at all without a restart."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from operator import attrgetter

from agent.config_lane import Lane
from agent.config_schema import Configuration

# A pending reversal was built from these. Its bytes would not change, but it would be sent to another
# host, under another key, or in another terminal's conversation.
LANE_IDENTITY = (
    *("profile", "terminal_id", "merchant_id", "batch", "currency", "tpdu", "acquirer", "operator"),
    *("tls", "mac", "mac_key_file", "master_key_file", "sign_on", "mac_key", "pinpad", "pinpad_master_key"),
)
# Of these also the content: a bank's new key often comes under the old name.
KEY_FILES = ("mac_key_file", "master_key_file")
# With these another journal, or one that cannot be opened, would take the place of the pending items.
STORE = ("agent.state_dir", "journal.path", "journal.highwater", "keys.data_key_file")
RESTART = (
    *STORE,
    *("agent.run_dir", "agent.socket", "agent.socket_group", "agent.socket_connections"),
    *("journal.presize_bytes", "journal.reserve_bytes", "journal.mirror"),
    *("keys.wrappings", "gateways", "rights.requests_per_s"),
)


def unsafe_changes(old: Configuration, new: Configuration, pending_lanes: Collection[str]) -> list[str]:
    """Sentences about what must not change while the named lanes have pending items; empty: nothing."""
    if not pending_lanes:
        return []
    changes = [f"{key}: cannot change while something is pending" for key in STORE if _differs(key, old, new)]
    for lane in old.lanes:
        if lane.name in pending_lanes:
            changes.extend(_lane_changes(lane, new.lane(lane.name)))
            changes.extend(_key_changes(lane.name, old, new))
    return changes


def needs_restart(old: Configuration, new: Configuration) -> list[str]:
    """Keys that differ and that only a restart can take over."""
    return [key for key in RESTART if _differs(key, old, new)]


def _lane_changes(old: Lane, new: Lane | None) -> Iterator[str]:
    """Adding hosts is safe (and what one does when the only host is down); taking one away is not."""
    if new is None:
        yield f"lane {old.name}: cannot be removed or renamed while it has pending reversals"
        return
    for key in LANE_IDENTITY:
        if getattr(old, key) != getattr(new, key):
            yield f"lane {old.name}: {key} cannot change while it has pending reversals"
    if gone := [host for host in old.hosts if host not in new.hosts]:
        yield f"lane {old.name}: hosts: {', '.join(gone)} cannot be removed while it has pending reversals"


def _key_changes(lane: str, old: Configuration, new: Configuration) -> Iterator[str]:
    for name in KEY_FILES:
        before, now = old.key_prints.get((lane, name)), new.key_prints.get((lane, name))
        if before is not None and now is not None and before != now:
            yield f"lane {lane}: the key in {name} cannot change while it has pending reversals"


def _differs(key: str, old: Configuration, new: Configuration) -> bool:
    value = attrgetter(key)
    return bool(value(old) != value(new))
