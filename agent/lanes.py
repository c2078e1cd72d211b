"""One configured lane made ready: its rules for the loop and its link to the hosts."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from agent import config as settings
from agent.config_checks import ProfileLoader
from agent.connection import Host
from agent.hostlink import LaneLink
from agent.lane import Gate, Lane
from agent.macs import MacProvider, NoMac, PinPadMac, SoftwareMac, Submit
from agent.outcomes import Exchange, Outcome, Stray
from agent.policy import Policy
from agent.session_keys import NoKeyYet
from agent.tls_settings import TlsSettings
from protocol.profile import load_profile
from protocol.rules import Profile

if TYPE_CHECKING:
    from agent.tls import TlsClient

# A PIN pad answers a MAC within a second; more than this and the reversal is tried again later.
# Source: UIC PP791 manual, response time-out of a packet 3 s; assumed twice that for three tries.
PAD_TIMEOUT_S = 6.0
# An application that talks to the host itself has the host's reply time-out and this much more.
REPORT_SLACK_S = 30.0


@dataclasses.dataclass(frozen=True, slots=True)
class Ears:
    """Who hears what a link has to tell."""

    deliver: Callable[[int, Outcome], None]
    stray: Callable[[str, int | None, Stray], None]
    link_up: Callable[[str], None]
    host_chosen: Callable[[int, str], None]


class ProfileShelf:
    """Each profile is read once for a start or a reload: the check of the configuration and the lanes share it."""

    def __init__(self) -> None:
        self._read: dict[tuple[str, tuple[Path | str, ...]], Profile] = {}

    def load(self, name: str, directories: Sequence[Path | str] = ()) -> Profile:
        """As `load_profile`. Raises ProfileError."""
        key = (name, tuple(directories))
        if key not in self._read:
            self._read[key] = load_profile(name, directories)
        return self._read[key]

    def clear(self) -> None:
        """The next reader finds what the files say then."""
        self._read.clear()


def lane_profile(lane: settings.Lane, directories: tuple[Path, ...], load: ProfileLoader = load_profile) -> Profile:
    """The lane's dialect with the retry rules that the configuration replaces."""
    profile = load(lane.profile, directories)
    return dataclasses.replace(profile, retry=settings.retry_rules(lane, profile.retry))


def make_lane(configuration: settings.Configuration, lane: settings.Lane, profile: Profile) -> Lane:
    """The lane as the loop sees it."""
    shop = configuration.policy
    limits = shop.while_pending
    gate = Gate(count=0) if isinstance(limits, str) else Gate(limits.count, limits.amount_minor, limits.age_s)
    policy = Policy(
        profile=profile,
        retry=profile.retry,
        terminal_id=lane.terminal_id,
        confirm_timeout_s=shop.confirm_timeout_s,
        nobody_knows=shop.nobody_knows,
        reply_deadline_s=profile.retry.reply_timeout_s + REPORT_SLACK_S,
    )
    return Lane(
        name=lane.name,
        policy=policy,
        merchant_id=lane.merchant_id,
        batch=lane.batch,
        first_stan=int(lane.first_stan),
        currency=lane.currency,
        acquirer=lane.acquirer,
        operator=lane.operator,
        gate=gate,
        warn_only=limits == "warn",
        several_hosts=len(lane.hosts) > 1,
    )


def make_link(
    lane: settings.Lane, profile: Profile, submits: Mapping[str, Submit], clock: Callable[[], float], ears: Ears
) -> LaneLink:
    """The lane's link. Raises TlsError and MacError for settings that cannot work."""
    return LaneLink(
        lane.name,
        profile,
        _hosts(lane),
        _macs(lane, profile, submits),
        ears.deliver,
        clock,
        stray=ears.stray,
        on_link_up=ears.link_up,
        on_host_chosen=ears.host_chosen,
        tpdu=bytes.fromhex(lane.tpdu),
    )


def _hosts(lane: settings.Lane) -> list[Host]:
    hosts = []
    for address in lane.hosts:
        name, port = settings.split_host(address)
        hosts.append(Host(name, port, _tls(lane.tls, name)))
    return hosts


def _tls(tls: settings.Tls | None, host: str) -> TlsClient | None:
    if tls is None:
        return None
    given = TlsSettings(
        ca_file=str(tls.ca_file) if tls.ca_file else ("system" if tls.system_ca else ""),
        pins=tls.pin_sha256,
        client_certificate=str(tls.client_certificate or ""),
        client_key=str(tls.client_key or ""),
        server_name=tls.server_name,
        minimum=tls.minimum,
    )
    from agent.tls import tls_client  # OpenSSL: 4 MB, only where a host is configured with TLS

    return tls_client(given, host)


def _macs(lane: settings.Lane, profile: Profile, submits: Mapping[str, Submit]) -> MacProvider:
    if lane.mac == "software" and lane.mac_key_file is not None:
        return SoftwareMac(profile.mac, settings.read_key_file(lane.mac_key_file))
    if lane.mac == "pinpad":
        if not lane.mac_key:
            return NoKeyYet()  # the first sign-on brings it (agent/session_room.py)
        return PinPadMac(profile.mac, submits[lane.pinpad], lane.mac_key, PAD_TIMEOUT_S)
    return NoKeyYet() if lane.mac == "software" else NoMac()


class Links:
    """All lanes' links: the wire that the loop sends on."""

    def __init__(self) -> None:
        self.by_lane: dict[str, LaneLink] = {}

    def exchange(self, exchange: Exchange) -> None:
        """Start it on its lane's link."""
        self.by_lane[exchange.lane].exchange(exchange)

    async def close(self) -> None:
        """End all connections; an exchange under way gets its outcome."""
        for link in self.by_lane.values():
            await link.close()
