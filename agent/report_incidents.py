"""Incidents: symptoms that belong together, from the first one until the host answers again.

Rules:
1. On one lane, symptoms of one kind are one incident until a sign ends it: any answer ends a dead link, a silent host
   and a missing device; only a wanted answer ends refusals and MAC trouble. No clock decides that. A silent host was
   connected, so it ends a dead link, and a dead link says no more about the host.
2. Restarts within `RESTART_TOGETHER_S` are one, over all lanes; what people do is one within `PEOPLE_TOGETHER_S`.
3. An incident that no sign ended is open: the journal does not show that it is over.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import field

from agent.report_stories import Attempt, Kind, Reading, Sign, Symptom, seconds_between
from protocol.frozen import dataclass

# All pending items are taken up again within seconds of a start. Assumed: a slow terminal needs a minute.
RESTART_TOGETHER_S = 60.0
# A cashier's bad quarter of an hour is one story. Assumed.
PEOPLE_TOGETHER_S = 900.0

_ENDED_BY_ANY: frozenset[Kind] = frozenset({"link", "silent", "device"})
_ENDS_THE_OTHER: dict[Kind, Kind] = {"link": "silent", "silent": "link"}
_MOMENTARY: dict[Kind, float] = {
    "restart": RESTART_TOGETHER_S, "people": PEOPLE_TOGETHER_S, "storage": PEOPLE_TOGETHER_S,
}  # fmt: skip


@dataclass(slots=True)
class Incident:
    """One of them. `ended_utc` "": still open. `last_utc`: its last symptom."""

    kind: Kind
    lane: str
    began_utc: str
    first_seq: int
    last_utc: str
    last_seq: int
    ended_utc: str = ""
    items: dict[str, None] = field(default_factory=dict)  # in the order of appearance
    symptoms: int = 0
    what: Counter[str] = field(default_factory=Counter)
    codes: Counter[str] = field(default_factory=Counter)
    tries: set[int] = field(default_factory=set)
    attempts: list[Attempt] = field(default_factory=list)
    quiet_s: float | None = None

    @property
    def open(self) -> bool:
        """Whether no sign ended it."""
        return not self.ended_utc

    @property
    def duration_s(self) -> float | None:
        """From its first symptom to its end, or to its last symptom while it is open."""
        return seconds_between(self.began_utc, self.ended_utc or self.last_utc)

    def add(self, symptom: Symptom) -> None:
        """One more symptom."""
        self.last_utc, self.last_seq = symptom.at_utc, symptom.seq
        self.items[symptom.txn_id] = None
        self.symptoms += 1
        self.what[symptom.what] += 1
        self.tries.add(symptom.try_seq)
        if symptom.code:
            self.codes[symptom.code] += 1


def incidents(reading: Reading) -> list[Incident]:
    """All of them, in the order in which they began."""
    done: list[Incident] = []
    current: dict[tuple[str, Kind], Incident] = {}
    for event in reading.events:
        if isinstance(event, Sign):
            _end(current, event)
            continue
        key = ("" if event.kind == "restart" else event.lane, event.kind)
        incident = current.get(key)
        if incident is None or _over(incident, event):
            incident = current[key] = _new(event, key[0], reading)
            done.append(incident)
        incident.add(event)
        if event.kind in _MOMENTARY:
            incident.ended_utc = event.at_utc
        other = current.get((event.lane, _ENDS_THE_OTHER.get(event.kind, event.kind)))
        if other is not None and other is not incident and other.open:
            other.ended_utc, other.last_seq = event.at_utc, event.seq
    _add_attempts(done, reading)
    return done


def _new(symptom: Symptom, lane: str, reading: Reading) -> Incident:
    made = Incident(symptom.kind, lane, symptom.at_utc, symptom.seq, symptom.at_utc, symptom.seq)
    if symptom.kind == "restart" and symptom.seq in reading.quiet_before:
        made.quiet_s = seconds_between(reading.quiet_before[symptom.seq], symptom.at_utc)
    return made


def _over(incident: Incident, symptom: Symptom) -> bool:
    """Whether a new incident begins with this symptom."""
    together_s = _MOMENTARY.get(incident.kind)
    if together_s is None:
        return not incident.open
    gap = seconds_between(incident.last_utc, symptom.at_utc)
    return gap is None or gap > together_s


def _end(current: dict[tuple[str, Kind], Incident], sign: Sign) -> None:
    for (lane, kind), incident in current.items():
        works = lane == sign.lane and kind not in _MOMENTARY and (sign.good or kind in _ENDED_BY_ANY)
        if works and incident.open:
            incident.ended_utc, incident.last_seq = sign.at_utc, sign.seq


def _add_attempts(found: Iterable[Incident], reading: Reading) -> None:
    """The tries that failed in it, and those of its items from its first record to its last."""
    for incident in found:
        incident.attempts = sorted(
            (
                attempt
                for txn_id in incident.items
                for attempt in reading.stories[txn_id].attempts
                if attempt.seq in incident.tries or incident.first_seq <= attempt.seq <= incident.last_seq
            ),
            key=lambda attempt: attempt.seq,
        )
