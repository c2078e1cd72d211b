"""What happens in one run besides chance at each step: lanes, sales, outages, clock jumps, acts of people.

Drawn from the seed alone. `Options` leave parts out (shrinking, replay); what is left stays as it was.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from random import Random
from typing import Literal

from agent.policy import NobodyKnows
from protocol.profile import load_profile
from protocol.rules import Profile, RetryRules
from tests.simulation.swarm import Swarm

FAULTS_END_S = (300.0, 900.0, 1800.0)
UNTIL_EVENING_S = 100_000.0  # dead until somebody comes and starts it: after the faults
REPORT_SLACK_S = 30.0  # as agent.lanes has it

Window = tuple[float, float]


@dataclass(frozen=True)
class Dialect:
    """A profile, the host that speaks it, and what the bench changes in it."""

    profile: str
    host: str
    mac: str = ""
    mode: str = "012"


DIALECTS = (
    *(Dialect("unionpay-pos", "unionpay"),) * 4,
    Dialect("unionpay-x919", "unionpay"),
    *(Dialect("iso87-ascii", "iso87"),) * 2,
    Dialect("iso87-ascii", "iso87", mac="x919"),
    *(Dialect("iso93", "iso93", mode="012345678901"),) * 2,
    Dialect("iso93", "iso93", mac="x919", mode="012345678901"),
)


@dataclass(frozen=True)
class LanePlan:
    """One lane, its rules and its hosts."""

    name: str
    dialect: Dialect
    terminal_id: str
    retry: RetryRules
    hosts: tuple[str, ...]
    confirm: Literal["on-approval", "by-application"]
    confirm_timeout_s: float
    nobody_knows: NobodyKnows
    gate_count: int | None
    warn_only: bool
    first_stan: int
    mac_on_all_replies: bool
    host_blocks_late: bool
    unknown_reversal: str
    has_pin_pad: bool

    @cached_property
    def profile(self) -> Profile:
        """The dialect with this lane's retry rules."""
        return replace(_profile(self.dialect), retry=self.retry)


@dataclass(frozen=True)
class SalePlan:
    """One sale as the application means it. `hands_over`: whether the customer gets the goods if it is approved."""

    index: int
    lane: int
    at: float
    amount_minor: int
    kind: str
    own_wire: bool
    hands_over: bool
    hand_over_s: float
    confirm_s: float
    deaf_s: float
    cancel_s: float

    @property
    def reference(self) -> str:
        """The application's own number of the sale."""
        return f"sale-{self.index}"


@dataclass(frozen=True)
class ActPlan:
    """Something that happens at a moment: a clock jump, an outage of the process, an operator's act."""

    index: int
    at: float
    what: str
    amount: float = 0.0


@dataclass(frozen=True)
class Options:
    """What is left out of a run, and the one thing that must not matter: the wall clock."""

    without: frozenset[str] = frozenset()
    no_sales: frozenset[int] = frozenset()
    no_acts: frozenset[int] = frozenset()
    wall_shift_s: float = 0.0
    real_journal: bool = False


@dataclass(frozen=True)
class Plan:
    """One run."""

    seed: int
    faults_end_s: float
    lanes: tuple[LanePlan, ...]
    sales: tuple[SalePlan, ...]
    acts: tuple[ActPlan, ...]
    pad_down: tuple[Window, ...] = ()
    disk_full: tuple[Window, ...] = ()
    read_only: tuple[Window, ...] = ()
    host_down: dict[str, tuple[Window, ...]] = field(default_factory=dict)


def draw_plan(seed: int, swarm: Swarm, options: Options) -> Plan:
    """The plan of this seed, less what the options leave out."""
    draw = Random(f"{seed}/plan")
    end_s = draw.choice(FAULTS_END_S)
    lanes = tuple(_lane(Random(f"{seed}/lane{n}"), n) for n in range(draw.choice((1, 1, 2, 2, 3))))
    sales = [_sale(Random(f"{seed}/sale{n}"), n, lanes, end_s, swarm) for n in range(draw.randint(1, 4))]
    if swarm.theme.startswith("overtaking"):
        lanes = tuple(_easily_overtaken(lane) for lane in lanes)
    if swarm.theme == "queue at the till" or draw.random() < 0.3:
        sales = [replace(sale, at=sales[0].at + draw.uniform(0.0, 60.0)) for sale in sales]
        lanes = tuple(replace(lane, gate_count=0, warn_only=False) for lane in lanes)
    acts = [act for act in _acts(Random(f"{seed}/acts"), end_s, swarm) if act.index not in options.no_acts]
    return Plan(
        seed,
        end_s,
        lanes,
        tuple(sale for sale in sales if sale.index not in options.no_sales),
        tuple(acts),
        _windows(seed, "pin-pad-down", end_s, swarm),
        _windows(seed, "disk-full", end_s, swarm),
        _windows(seed, "disk-read-only", 60.0, swarm),
        {
            f"{lane.name}/{host}": _windows(seed, "host-down", end_s, swarm, f"{lane.name}/{host}")
            for lane in lanes
            for host in lane.hosts
        },
    )


@cache
def _profile(dialect: Dialect) -> Profile:
    profile = load_profile(dialect.profile)
    if dialect.mac:
        profile = replace(profile, mac=replace(profile.mac, algorithm=dialect.mac))
    return profile


def _lane(draw: Random, number: int) -> LanePlan:
    dialect = draw.choice(DIALECTS)
    reply_s = draw.choice((20.0, 30.0, 60.0))
    retry = replace(
        _profile(dialect).retry,
        first_delay_s=draw.choice((0.0, 0.0, 2.0)),
        base_s=draw.choice((5.0, 10.0, 30.0)),
        cap_s=draw.choice((60.0, 300.0)),
        park_after_attempts=draw.choice((2, 4, 60)),
        parked_every_s=draw.choice((120.0, 600.0, 1800.0)),
        reply_timeout_s=reply_s,
        overtake_window_s=reply_s + 30.0,
        persistent_connection=draw.random() < 0.5,
    )
    # A host that gives no MAC with a refusal could never tell us "no such original": it accepts every reversal.
    mac_on_all = _profile(dialect).mac.algorithm == "none" or draw.random() < 0.6
    knows_overtaking = dialect.host != "iso93" and mac_on_all
    hosts = ("alpha", "beta") if draw.random() < 0.3 else ("alpha",)
    return LanePlan(
        name=("main", "side", "kiosk")[number],
        dialect=dialect,
        terminal_id=f"1000000{number + 1}",
        retry=retry,
        hosts=hosts,
        confirm="on-approval" if draw.random() < 0.2 else "by-application",
        confirm_timeout_s=draw.choice((30.0, 120.0)),
        nobody_knows=draw.choice(("reverse", "reverse", "reverse", "complete", "park")),
        gate_count=draw.choice((None, None, 0, 2)),
        warn_only=draw.random() < 0.2,
        first_stan=draw.choice((0, 0, 999_997)),
        mac_on_all_replies=mac_on_all,
        host_blocks_late=not knows_overtaking or draw.random() < 0.5,
        unknown_reversal="25" if mac_on_all else "00",
        has_pin_pad=draw.random() < 0.5,
    )


def _easily_overtaken(lane: LanePlan) -> LanePlan:
    """Its host says that it never saw the original, with a MAC, and charges it when it comes at last."""
    if lane.dialect.host == "iso93":
        return lane
    return replace(lane, unknown_reversal="25", mac_on_all_replies=True, host_blocks_late=False)


KINDS = ("sale",) * 8 + ("preauth", "void", "balance", "refund")


def _sale(draw: Random, index: int, lanes: tuple[LanePlan, ...], end_s: float, swarm: Swarm) -> SalePlan:
    slow = swarm.strikes("application-slow")
    cancels = swarm.strikes("application-cancels")
    lane = draw.randrange(len(lanes))
    return SalePlan(
        index=index,
        lane=lane,
        at=draw.uniform(0.0, 0.7 * end_s),
        amount_minor=draw.randrange(1, 90_000) * 100 + draw.choice((0, 0, 0, 0, 0, 51)),
        kind=draw.choice(KINDS),
        # Of an application's own exchange the agent does not know the host: such lanes have one.
        own_wire=draw.random() < 0.12 and len(lanes[lane].hosts) == 1,
        hands_over=draw.random() < 0.75,
        hand_over_s=draw.uniform(0.1, 5.0),
        confirm_s=draw.uniform(20.0, 200.0) if slow else draw.uniform(0.1, 5.0),
        deaf_s=draw.choice((draw.uniform(10.0, 300.0), UNTIL_EVENING_S)),
        cancel_s=draw.uniform(0.1, 40.0) if cancels else 0.0,
    )


_OPERATOR = ("operator-retries", "operator-holds", "operator-parks", "operator-settles")
_CLOCK = ("wall-clock-1970", "wall-clock-back-a-day", "wall-clock-ten-years-on", "wall-clock-steps")


def _acts(draw: Random, end_s: float, swarm: Swarm) -> list[ActPlan]:
    acts: list[ActPlan] = []
    for kind in (*_OPERATOR, *_CLOCK, "restart", "bit-flip"):
        times = [draw.uniform(0.0, end_s) for _ in range(2)]
        amount = draw.uniform(-7200.0, 7200.0)
        for number, at in enumerate(times):
            if swarm.strikes(kind):
                acts.append(ActPlan(10 * len(acts) + number, at, kind, amount))
    return acts


def _windows(seed: int, kind: str, longest_s: float, swarm: Swarm, name: str = "") -> tuple[Window, ...]:
    if not swarm.strikes(kind):
        return ()
    draw = Random(f"{seed}/{kind}/{name}")
    starts = [draw.uniform(0.0, 300.0) for _ in range(draw.randint(1, 2))]
    return tuple((start, start + draw.uniform(1.0, min(longest_s, 600.0))) for start in starts)


def within(windows: tuple[Window, ...], time: float) -> bool:
    """Whether this moment lies in one of the windows."""
    return any(start <= time < end for start, end in windows)
