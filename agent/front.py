"""What faces people: the methods that show, closing by hand, keys, slips, what watches, the status files.

Nothing in here can send a reversal, and loading it takes a sixth of the start: the daemon makes it after the reversals
that are overdue had their moment to leave (`HEAD_START_S`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from agent.api import Api
from agent.config_schema import Configuration
from agent.device_desk import DeviceDesk
from agent.explain_desk import ExplainDesk
from agent.journal import Journal
from agent.keys import KeyDesk
from agent.lanes import Links
from agent.loop import Clock, Loop
from agent.operator_desk import OperatorDesk
from agent.room import DeviceRoom
from agent.second_copy import SecondCopy
from agent.session_room import SessionRoom
from agent.settling import SettlingDesk
from agent.show_only import ShowOnly
from agent.slip_book import SlipBook
from agent.slip_desk import SlipDesk
from agent.status import StatusWriter
from agent.status_views import Views
from agent.vault import Vault
from agent.watching import Watching
from protocol.frozen import dataclass

# In agent.state_dir: which slips are on paper.
SLIP_BOOK = "slips.book"


@dataclass(frozen=True, slots=True)
class Rooms:
    """What the daemon has made by then. `spawn` runs a coroutine beside its work."""

    configuration: Callable[[], Configuration]
    clock: Clock
    journal: Journal
    vault: Vault
    loop: Loop
    links: Links
    devices: DeviceRoom
    api: Api
    sessions: SessionRoom
    second_copy: SecondCopy | None
    show: ShowOnly
    spawn: Callable[[Any], None]
    keys_changed: Callable[[], None]


class Front:
    """See the module."""

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms
        clock, configuration = rooms.clock, rooms.configuration
        self.views = Views(
            rooms.loop,
            rooms.links,
            rooms.devices,
            rooms.journal,
            clock,
            configuration,
            rooms.second_copy.warnings if rooms.second_copy else tuple,
        )
        self._settling = SettlingDesk(rooms.loop, lambda: clock.now().mono, self.views.why, configuration)
        self.watching = Watching(
            configuration,
            clock,
            rooms.loop,
            rooms.journal,
            rooms.api,
            rooms.devices,
            self.views.devices,
            rooms.spawn,
            rooms.show,
        )
        self.views.sessions = rooms.sessions.views
        self.views.watch = self.watching.shown
        self._keys = KeyDesk(
            rooms.vault, rooms.loop, configuration().keys.data_key_file, rooms.keys_changed, rooms.clock.now
        )
        self.views.keys = self._keys.wrapping
        self.views.extra = lambda: [*self.watching.conditions(), *self._keys.conditions()]
        self.views.plan_objection = self.watching.objection
        self.writer = StatusWriter(configuration().agent.run_dir, rooms.show)
        self._furnish(rooms.api)

    def catch_up(self) -> None:
        """Evidence and slips of what ended before the last stop, where the stop came between."""
        rooms = self._rooms
        ended = self.views.ended()
        self._settling.make_up_for(txn for _, txn in ended)
        with rooms.show.part("slip"):
            book = SlipBook.open(rooms.configuration().agent.state_dir / SLIP_BOOK, rooms.journal.health().head_seq)
            rooms.devices.owe_slips(book, [*reversed(ended), *((0, txn) for txn in rooms.loop.pending())])

    def write_status(self) -> bool:
        """The status files; whether to write again soon. A full disk is logged once and never stops a reversal."""
        document = None
        with self._rooms.show.part("status"):
            document = self.views.status()
        again = self.watching.look(document)
        if document is None:
            self.writer.write_old(self._rooms.show.faults())
        else:
            self.writer.write({**document, "watch": self.watching.shown()})
        return again

    def _furnish(self, api: Api) -> None:
        rooms = self._rooms
        explains = ExplainDesk(rooms.loop, lambda: rooms.configuration().profiles_directories)
        shown = self._shown(self.views.methods())
        api.plan_objection = self.watching.objection
        for methods in (
            OperatorDesk(rooms.loop, shown, self._settling).methods,
            DeviceDesk(rooms.devices, shown["devices"]).methods,
            self._keys.methods(),
            SlipDesk(rooms.loop, rooms.devices).methods,
            explains.methods,
            self.watching.methods,
        ):
            api.methods |= methods

    def _shown(self, views: Mapping[str, Callable[..., Any]]) -> dict[str, Callable[..., Any]]:
        """A fault of what shows ends nothing; an export is more than a show."""
        return {
            name: method if name == "export" else self._rooms.show.answering(name, method)
            for name, method in views.items()
        }
