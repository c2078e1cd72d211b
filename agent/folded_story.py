"""A long story made short for people: tries that ended as the one before them are told once (`folded`).

A reversal that the host refuses for days has hundreds of tries; what a person looks for is where they began to end
differently. Made from the entries of agent/status_timeline.py alone, so that `reversalctl` needs nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from agent.texts import catalogue
from protocol.frozen import dataclass

Entry = Mapping[str, Any]

# Shorter runs are told in full: the fold would save no lines. Assumed.
FOLDED_FROM = 4
# What may stand before a try and belongs to it.
_LEADS_TO_A_TRY = frozenset({"Resume", "Wake", "HostChosen"})


def folded(entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """The story with one entry in place of tries that ended as the try before them did.

    The first try of such a run and the last one are told as they were. The entry between them has `until_utc` and
    `until_seq`: time and number of the last entry that it stands for.
    """
    tries = list(_tries(entries))
    found: list[dict[str, Any]] = []
    place = 0
    while place < len(tries):
        end = place + 1
        while end < len(tries) and tries[place].ended and tries[end].ended == tries[place].ended:
            end += 1
        run = tries[place:end]
        if len(run) < FOLDED_FROM:
            found += [dict(entry) for one in run for entry in one.entries]
        else:
            found += [*map(dict, run[0].entries), _told_once(run), *map(dict, run[-1].entries)]
        place = end
    return found


@dataclass(frozen=True, slots=True)
class _Try:
    """A try, what led to it and how it ended; or, with `ended` "", one entry that is no part of a try."""

    entries: tuple[Entry, ...]
    ended: str = ""


def _tries(entries: Sequence[Entry]) -> Iterator[_Try]:
    """The story in pieces. A change of state, a person or evidence is a piece of its own."""
    gathered: list[Entry] = []
    for place, entry in enumerate(entries):
        gathered.append(entry)
        changed = place > 0 and entry["state"] != entries[place - 1]["state"]
        ended = entry.get("ended", "")  # an older agent does not tell it
        if ended and not changed:
            yield _Try(tuple(gathered), ended)
            gathered = []
        elif changed or entry["event"] not in _LEADS_TO_A_TRY:
            yield from (_Try((one,)) for one in gathered)
            gathered = []
    yield from (_Try((one,)) for one in gathered)


def _told_once(run: Sequence[_Try]) -> dict[str, Any]:
    """One entry for all tries of the run but its first and its last."""
    like, first, last = (run[place].entries[-1] for place in (0, 1, -2))
    values = {"first": str(first["tries"]), "last": str(last["tries"]), "like": str(like["tries"])}
    told = catalogue().timeline["attempt-same"].fill(values)
    return {
        **run[1].entries[0],
        "until_utc": last["at_utc"],
        "until_seq": last["seq"],
        "text_en": told.en,
        "text_zh": told.zh,
    }
