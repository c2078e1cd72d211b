"""reversald: builds everything, runs it, and ends the process when anything is in doubt.

Exit codes (sysexits.h): 0 stopped as asked; 64 wrong command line; 70 our own fault; 74 the journal
is in doubt (the service manager starts us again and the journal is read back); 73 the journal or
its key cannot be used; 78 the configuration is wrong.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

from agent import config as settings
from agent import footprint, hardening, key_sources, lean, logs
from agent.api import Api
from agent.events import Alarm, Slip
from agent.journal import Journal
from agent.journal_contract import JournalError
from agent.journal_open import held
from agent.journal_rest import JournalRest
from agent.lane import Listener
from agent.lanes import Ears, Links, ProfileShelf, lane_profile, make_lane, make_link
from agent.loop import Clock, Loop
from agent.notify import notify, watchdog_interval_s
from agent.outcome_desk import OutcomeDesk
from agent.outcomes import Replied, Stray
from agent.records import OWED, State, Transaction
from agent.reload import Reload
from agent.rights import Pace, Rights
from agent.room import DeviceRoom
from agent.rpc import Limits, Peer, RpcServer
from agent.second_copy import SecondCopy
from agent.session_room import SessionRoom
from agent.show_only import ShowOnly
from agent.status_pace import StatusPace
from agent.vault import Vault, VaultError
from protocol.errors import AgentError

if TYPE_CHECKING:
    from types import SimpleNamespace

    from agent.front import Front
    from agent.gateway import Gateway
    from agent.status import StatusWriter

EX_USAGE, EX_SOFTWARE, EX_CANTCREAT, EX_IOERR, EX_CONFIG = 64, 70, 73, 74, 78

# A known-dead host is looked for this often while something waits for it: soon enough for a shop,
# seldom enough for a fleet. Assumed.
PROBE_EVERY_S = 10.0
# At a start, overdue reversals have this long to leave before socket, status and page are made: a connect and a send on
# a local network. Measured: 3 ms. A slower network gains nothing more from waiting.
HEAD_START_S = 0.02
# A stop waits this long for the exchange under way, so that its outcome is not lost.
STOP_WAIT_S = 5.0

log = logging.getLogger("reversald")


class Daemon(Listener):
    """One running agent."""

    def __init__(
        self, configuration: settings.Configuration, *, new_journal: bool = False, profiles: ProfileShelf | None = None
    ) -> None:
        self.configuration = configuration
        self._profiles = profiles or ProfileShelf()
        self.clock = Clock()
        self.show = ShowOnly(self.clock.now)
        self._aio = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self.front: Front | None = None
        self.gateway: Gateway | None = None
        self.rights: Rights  # `_take_over` says who may what
        self._status = StatusPace(lambda: self.front, lambda: self.configuration.agent.page_every_s, self._probe)
        self.links = Links()
        self.devices = self._make_devices()
        self.journal, self._vault = _open_journal(configuration, new=new_journal)
        mirror = configuration.journal.mirror
        self.second_copy = SecondCopy(mirror, self._vault, self.journal) if mirror else None
        self.loop = Loop(self.journal, [], self.links, self.clock, self)
        self._rest = self._make_rest()
        self.outcomes = OutcomeDesk(self.loop.all_ended, lambda: self.journal.commit_s)
        self.api = Api(self.loop, configuration.policy.confirm)
        self.sessions = self._make_sessions()
        self._reloads = Reload(self.loop, self._profiles, lambda: self.configuration, self._take_over)
        self.api.session_ready = self.sessions.ready
        self.api.keep_script_result = self.sessions.keep_script_result
        self.api.methods |= {"agent.reload": self._reload_asked, **self.sessions.methods}

    def _make_devices(self) -> DeviceRoom:
        return DeviceRoom(
            _make_desk,
            self._device_ready,
            self._spawn,
            self._status.soon,
            self.clock.now,
            lambda work: self._spawn(self.show.shielded("slip", work)),
        )

    def _make_rest(self) -> JournalRest:
        return JournalRest(
            self.journal,
            lambda: self.configuration,
            self.clock.now,
            lambda: self.loop.lanes.values(),
            lambda: self.loop.next_wake(),
        )

    def _make_sessions(self) -> SessionRoom:
        return SessionRoom(
            self.loop,
            self.journal,
            self.clock,
            self.api.in_turn,
            self._spawn,
            self._session_changed,
            self._new_pin_keys,
        )

    # --- life ----------------------------------------------------------------------------------

    async def run(self) -> int:
        """Until told to stop."""
        self._aio.set_exception_handler(self._fault_in_loop)
        self._take_over(self.configuration)
        self._profiles.clear()
        if self.second_copy is not None:
            self.second_copy.recover()
        self.loop.start()
        self.sessions.wake()
        self.devices.ask_about(self.loop.pending())
        if self.loop.lanes_owed():
            await asyncio.sleep(HEAD_START_S)
        self.journal.take_room()
        await self._survey()
        self.front = self._make_front()
        self.front.catch_up()
        server = self._server()
        await server.start()
        self._start_gateway()
        self._signals()
        self._report_ready()
        self._every(PROBE_EVERY_S, self._probe)
        self._every(self.configuration.agent.status_every_s, self._look)
        if self.configuration.agent.page_every_s:
            self._every(self.configuration.agent.page_every_s, self._status.write_page)
        if interval_s := watchdog_interval_s():
            self._every(interval_s, self._sign_of_life)
        await self._stop.wait()
        await self._wind_down(server)
        return 0

    def _start_gateway(self) -> None:
        if not self.configuration.gateways:
            return
        from agent.gateway import Gateway  # 0.3 MB, only where an application is behind one

        self.gateway = Gateway(self.loop, self.api, self.links, self._spawn)
        self.gateway.start(self.configuration.gateways)

    def _make_front(self) -> Front:
        from agent.front import Front, Rooms  # its modules take a sixth of the start: see there

        return Front(
            Rooms(
                lambda: self.configuration,
                self.clock,
                self.journal,
                self._vault,
                self.loop,
                self.links,
                self.devices,
                self.api,
                self.sessions,
                self.second_copy,
                self.show,
                self._spawn,
                self._keys_changed,
            )
        )

    async def _survey(self) -> None:
        """Of thousands only the first were read; reversals go on meanwhile. No sale and no status before all are."""
        more = True
        while more:
            began = self._aio.time()
            more = self.loop.survey()
            await asyncio.sleep(self._aio.time() - began)  # half of the time is the lanes'

    def _report_ready(self) -> None:
        pending = self.loop.pending()
        log.info("ready: %d lanes, %d items pending", len(self.loop.lanes), len(pending))
        for _, text in self.loop.unreadable.values():
            log.error("%s; its lane starts no new sale: run reversalctl verify", text)
        for lane in sorted(self.loop.orphaned_lanes()):
            log.error("items are pending on lane %s, which is not configured any more: put it back", lane)
        self._status.write()
        self._status.write_page()
        self.journal.shrink()
        footprint.settle()
        notify("READY=1")

    async def _wind_down(self, server: RpcServer) -> None:
        notify("STOPPING=1")
        log.info("stopping")
        if self.gateway is not None:
            await self.gateway.close()
        await server.close()
        self._reloads.keep_lanes()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_WAIT_S):
                await self._reloads.lanes_idle()
        self._status.write()  # what is pending at the end: the last exchange may have changed it
        for task in self._tasks:
            task.cancel()
        self._disarm()
        if self.front is not None:
            self.front.watching.close()
        await self.links.close()
        self.outcomes.hand_over()
        self.devices.close()
        self._disarm()  # what ended meanwhile has armed it again; nothing may come to a closed journal
        self._status.rest()
        self.journal.close()
        if self.front is not None:
            self.front.writer.stopped()
        self._status.write_page(last=True)

    def _signals(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._aio.add_signal_handler(number, self._stop.set)
        self._aio.add_signal_handler(signal.SIGHUP, lambda: self._spawn(self._reload_on_signal()))

    # --- listener of the loop ------------------------------------------------------------------

    def changed(self, txn: Transaction) -> None:
        """A new record is stored: tell who waits, log it, show it."""
        log.info("%s %s %s: %s%s", txn.id, txn.kind, txn.reference, txn.state, _told(txn))
        self.api.changed(txn)
        if self.front is not None:
            self.front.watching.changed(txn)
        self.sessions.item_changed(txn.lane)
        if self.second_copy is not None:
            self.second_copy.changed(self._spawn)
        self._status.soon()

    def effect(self, txn: Transaction, effect: Alarm | Slip) -> None:
        """An alarm goes to the log; a slip to the printer when there is time for it."""
        if isinstance(effect, Alarm):
            log.error("%s: %s", effect.code, effect.text)
        else:
            with self.show.part("slip"):
                self.devices.slip(txn, effect.what)

    def host_time(self, lane: str, date: str, time: str) -> None:
        """Compared with ours, only to be shown."""
        if self.front is not None:
            self.front.watching.host_time(lane, date, time)

    def _keys_changed(self) -> None:
        """The second copy is written with the new key, too."""
        if self.second_copy is not None:
            self.second_copy.changed(self._spawn)
        self._status.soon()

    def replied(self, txn_id: str, purpose: str, reply: Replied) -> None:
        """An application behind a gateway waits for the answer itself."""
        txn = self.loop.get(txn_id)
        if txn is not None and self.gateway is not None:
            self.gateway.replied(txn.lane, txn_id, purpose, reply)

    def answered(self, lane: str, code: str, processing_requirement: int) -> None:
        """The host may want a sign-on before anything else."""
        self.sessions.answered(lane, code, processing_requirement)

    def _session_changed(self) -> None:
        self._status.soon()
        self.timers()

    def _new_pin_keys(self) -> None:
        """A sign-on brought other PIN keys: the next sale through the checkout uses them."""
        self._make_checkout(self.configuration)

    def _make_checkout(self, configuration: settings.Configuration) -> None:
        with_keys = self.sessions.with_pin_keys(configuration)
        self.api.configure(configuration.policy.confirm, self.devices.make_checkout(with_keys, self.api, self.loop))

    def lane_free(self, lane: str) -> None:
        """A waiting sale may take its turn."""
        self._reloads.lane_free()
        self.api.lane_free(lane)
        self.sessions.lane_free(lane)

    def timers(self) -> None:
        """Arm the one timer anew."""
        self._disarm()
        times = [due for due in (self.loop.next_wake(), self.sessions.next_wake()) if due is not None]
        if times:
            self._timer = self._aio.call_at(min(times), self._due)

    def _due(self) -> None:
        self.loop.wake()
        self.sessions.wake()
        self.timers()

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # --- ears of the links ---------------------------------------------------------------------

    def _stray(self, lane: str, exchange_id: int | None, stray: Stray) -> None:
        self.loop.stray(lane, stray)

    def _link_up(self, lane: str) -> None:
        log.info("lane %s: the link is up again", lane)
        if "link-up" in self.loop.lane(lane).policy.retry.triggers:
            self.loop.resume(lane, "link-up")
        self.sessions.back(lane)
        self._status.soon()

    def _device_ready(self, device: str) -> None:
        """A PIN pad is back: the lanes that need it for their MAC go on."""
        for lane in self.configuration.lanes:
            if lane.mac == "pinpad" and lane.pinpad == device:
                self.loop.resume(lane.name, "device-ready")
                self.sessions.back(lane.name)

    # --- configuration -------------------------------------------------------------------------

    def _take_over(self, new: settings.Configuration) -> None:
        """Lanes, links and devices as configured; what is under way goes on."""
        self.devices.configure(new)
        ears = Ears(self.outcomes.deliver, self._stray, self._link_up, self.loop.host_chosen)
        for lane in new.lanes:
            profile = lane_profile(lane, new.profiles_directories, self._profiles.load)
            link = make_link(lane, profile, self.devices.submits(), lambda: self.clock.now().mono, ears)
            self.loop.put_lane(make_lane(new, lane, profile))
            before = self.links.by_lane.get(lane.name)
            self.links.by_lane[lane.name] = link
            self.sessions.configure(lane, profile, link, self.devices.submits())
            if before is not None:
                self._spawn(before.close())
        for name in set(self.loop.lanes) - {lane.name for lane in new.lanes}:
            self.loop.drop_lane(name)
            self.sessions.drop(name)
            self._spawn(self.links.by_lane.pop(name).close())
        self.configuration = new
        self.rights = Rights(new.rights)
        self._make_checkout(new)

    async def reload(self) -> dict[str, Any]:
        """Take over the changed file. Raises: ConfigError and RefusedError; then all stays as it was."""
        new = await self._reloads.run()
        log.info("configuration reloaded from %s", new.source)
        self._status.write()
        return {"reloaded": str(new.source), "lanes": sorted(self.loop.lanes)}

    async def _reload_asked(self, peer: Peer, params: dict[str, Any]) -> dict[str, Any]:
        log.info("reload asked for by %s", peer.name)
        return await self.reload()

    async def _reload_on_signal(self) -> None:
        try:
            await self.reload()
        except AgentError as error:
            log.error("the new configuration is not taken over, the old one stays: %s", error)

    # --- regular work --------------------------------------------------------------------------

    def _probe(self) -> None:
        """Look for hosts that are known down on lanes where something waits for them."""
        for lane in self.loop.lanes_owed():
            if lane in self.links.by_lane:
                self.links.by_lane[lane].probe()

    def _look(self) -> None:
        """The sign of life, and what the journal does where nothing is due."""
        self._status.write()
        self._rest.step()

    def _sign_of_life(self) -> None:
        """Only after a round trip to the journal."""
        self.journal.counters()
        notify("WATCHDOG=1")

    def _every(self, seconds: float, work: Any) -> None:
        async def forever() -> None:
            while True:
                await asyncio.sleep(seconds)
                work()

        self._spawn(forever())

    def _spawn(self, work: Any) -> None:
        task = self._aio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.result()  # an error of ours goes to the fault handler

    # --- the end -------------------------------------------------------------------------------

    def _fault_in_loop(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if isinstance(error, OSError) and "socket" in context:
            # asyncio found no descriptor or memory for a connection to the API, and tries again in a second.
            log.error("api: no connection can be taken now: %s", error.strerror)
            return
        self.fault(error if isinstance(error, BaseException) else RuntimeError(str(context.get("message"))))

    def fault(self, error: BaseException) -> NoReturn:
        """In doubt nothing is decided any more: say why, and let the service manager start us again."""
        code = EX_IOERR if isinstance(error, JournalError) else EX_SOFTWARE
        if isinstance(error, AgentError):
            log.critical("%s; the daemon ends and reads the journal back at the next start", error)
        else:
            log.critical("our own fault, the daemon ends: %s", hardening.places(error))
        try:
            writer = self.front.writer if self.front is not None else self._late_writer()
            writer.stopped(str(error) if isinstance(error, AgentError) else type(error).__name__)
            logging.shutdown()
        finally:
            os._exit(code)

    def _late_writer(self) -> StatusWriter:
        from agent.status import StatusWriter  # as the front does: not needed for the first reversal

        return StatusWriter(self.configuration.agent.run_dir, self.show)

    def _server(self) -> RpcServer:
        agent = self.configuration.agent
        return RpcServer(
            agent.socket,
            self.api.methods,
            on_fault=self.fault,
            group=agent.socket_group,
            log=log,
            limits=Limits(connections=agent.socket_connections),
            guard=lambda peer, method: self.rights.check(peer, method),
            pace=Pace(self.configuration.rights.requests_per_s, self._aio.time).wait_s,
            quiet=frozenset({"agent.status", "reversal.list", "transaction.status", "transaction.unconfirmed"}),
        )


def _told(txn: Transaction) -> str:
    """What is worth a log line besides the state."""
    if txn.state in OWED and txn.sending:
        return f", try {txn.attempts} is recorded and goes out"
    if txn.state in OWED and txn.attempts:
        return f", try {txn.attempts} failed: {txn.last_error or 'refused with code ' + txn.last_code}"
    if txn.state is State.REVERSED:
        return f", acknowledged with {txn.acknowledged_with} at try {txn.attempts} (match: {txn.match_grade})"
    return f" ({txn.cause or txn.response_code})" if txn.cause or txn.response_code else ""


def _open_journal(configuration: settings.Configuration, *, new: bool) -> tuple[Journal, Vault]:
    """`new`: a person says that the old journal is gone for good; its mark is kept under another name."""
    store = configuration.journal
    for directory in (configuration.agent.state_dir, configuration.agent.run_dir):
        directory.mkdir(mode=0o755 if directory == configuration.agent.run_dir else 0o700, parents=True, exist_ok=True)
    if new and not store.path.exists() and store.highwater.exists():
        store.highwater.rename(store.highwater.with_name(store.highwater.name + ".lost"))
    vault = _open_vault(configuration)
    journal = Journal.open(
        store.path,
        vault,
        store.highwater,
        presize_bytes=store.presize_bytes,
        room_later=True,
        reserve_bytes=store.reserve_bytes,
        create=new,
        pending_max=0,  # the loop takes each with `checked`
    )
    vault.sweep()
    return journal, vault


def _open_vault(configuration: settings.Configuration) -> Vault:
    """The first start makes the key file, and no other process at the same time."""
    store, keys = configuration.journal, configuration.keys
    sources = key_sources.wrappers(keys.wrappings)
    with contextlib.nullcontext() if keys.data_key_file.exists() else held(store.path):
        return Vault.open_or_create(keys.data_key_file, (store.path, store.highwater), sources)


def _make_desk(on_change: Callable[[Any], None]) -> Any:
    with lean.hollow(lean.DEBUGGERS):
        from drivers.desk import Desk  # construct and pyserial cost 5 MB and 40 ms: only where there are devices
        from drivers.usb_bench import bench_backend

    return Desk(on_change, bench_backend(os.environ))


async def _run(configuration: settings.Configuration, *, new_journal: bool, profiles: ProfileShelf) -> int:
    return await Daemon(configuration, new_journal=new_journal, profiles=profiles).run()


def _shown(configuration: settings.Configuration, options: SimpleNamespace) -> int:
    """What --check-config and --print-config say."""
    text = [settings.effective(configuration) if options.print_config else f"{options.config}: no errors"]
    if options.check_config:
        text += [f"note: {note}" for note in key_sources.notes(configuration.keys)]
    try:
        print("\n".join(text), flush=True)
    except BrokenPipeError:  # somebody closed the pager: not an error, and Python must not complain again at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def run(options: SimpleNamespace) -> int:
    """What the command line asks for (`agent/__main__.py`); an exit code."""
    profiles = ProfileShelf()
    footprint.one_heap()
    hardening.protect_memory()
    hardening.hide_values_in_tracebacks()
    try:
        configuration = settings.load(options.config, profiles.load)
    except AgentError as error:
        print(error, file=sys.stderr)
        return EX_CONFIG
    if options.check_config or options.print_config:
        return _shown(configuration, options)
    if options.command == "gateway" and not configuration.gateways:
        print(f"E-GATEWAY: {options.config} has no [[gateway]]; docs/gateway.md shows one", file=sys.stderr)
        return EX_CONFIG
    logs.set_up(configuration.agent.log_level)
    try:
        return asyncio.run(_run(configuration, new_journal=options.new_journal, profiles=profiles))
    except (JournalError, VaultError) as error:
        log.critical("%s", error)
        return EX_CANTCREAT
    except AgentError as error:
        log.critical("%s", error)
        return EX_CONFIG
