"""What the agent does in a sale and after an outage: durable intent, a whole sale, drain, growth."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from agent.client import AgentClient
from agent.journal import Journal
from protocol.envelope import EnvelopeReader, wrap
from protocol.iso8583 import Message
from protocol.mac import compute, mac_input, place, reserve
from protocol.profile import load_profile
from tests.bench import bench_journal
from tests.bench.figures import Figure, percentile, spread
from tests.bench.scene import CARD, KEY, Host, Place, cpu_ms, memory_peak_mb, running
from tests.journal_scenes import Home, entry

RAW = "raw 4 KiB append + fdatasync"


# --- durable intent ----------------------------------------------------------------------------


def intent(directory: Path, commits: int) -> list[Figure]:
    """`append` against the cheapest durable write, taking turns; syncs and bytes from a trace where strace is there."""
    subject = "Durable intent"
    raw, whole, alone = bench_journal.measure(_fresh(directory / "intent"), commits)
    p50, p99 = percentile(raw, 50), percentile(raw, 99)
    found = [spread(subject, RAW, raw, "us")]
    for name, samples in (("COMMIT alone", alone), ("append, whole", whole)):
        figure = spread(
            subject, name, samples, "us", baseline_name="raw p50", baseline=p50, goal="p50 <= 1.0x, p99 <= 2.0x"
        )
        met = figure.value <= p50 and (figure.p99 or 0) <= 2 * p99
        note = f"p99 is {(figure.p99 or 0) / p99:.2f} x the raw p99"
        found.append(Figure(**{**figure.__dict__, "met": met, "note": note}))
    traced = bench_journal.syncs_per_commit(_fresh(directory / "traced"), min(commits, 1000))
    if traced is not None:
        syncs, written = traced
        found.append(Figure(subject, "syncs a transition", syncs, "", goal="<= 1.1", met=syncs <= 1.1))
        life = 4 * written / 1000  # begun, attempt, attempt, acknowledged
        found.append(Figure(subject, "bytes written in a reversal's life", life, "kB", goal="<= 80 kB", met=life <= 80))
    entries = 4096 if commits > 500 else 512
    cpu_us, _ = bench_journal.batches(_fresh(directory / "together"), 64, entries)
    _, sent = bench_journal.batches(_fresh(directory / "alone"), 1, entries // 4)
    found.append(Figure(subject, "CPU an entry, commits of 64", cpu_us, "us", goal="<= 100 us", met=cpu_us <= 100))
    name, note = "sent to the medium in a reversal's life", "1.3 kB a record; counted by the kernel, 0 on a memory disk"
    found.append(Figure(subject, name, sent / 1000, "kB", goal="<= 80 kB", met=sent <= 80_000, note=note))
    return found


# --- a whole sale ------------------------------------------------------------------------------


def sale(directory: Path, compiled: Path, count: int) -> list[Figure]:
    """A sale through the agent against the same exchange straight with the host. Two syncs: intent and outcome.

    The till keeps its connection, as the shipped client does, and as the straight exchange does to the host; one that
    makes a new connection for each call stands below.
    """
    subject = "A whole sale"
    syncs: list[float] = []
    plain = _fresh(directory / "sync") / "raw"
    with Host(compiled) as host:
        straight = _exchanges_ms(host.port, count)
        place = Place(directory / "sale", [("unionpay", "unionpay-pos", host.port)], compiled=compiled)
        with running(place) as agent, AgentClient(place.directory / "run" / "agent.sock") as till:
            kept, anew = [], []
            for number in range(count + 5):
                syncs += _sync_ms(plain, 1)  # the disk as it is now
                kept.append(_sale_ms(till.call, f"k{number}"))
                if number % 4 == 0:
                    anew.append(_sale_ms(agent.call, f"a{number}"))
    without = spread(subject, "exchange without the agent", straight, "ms")
    base: dict[str, Any] = {"baseline_name": "without", "baseline": without.value}
    with_agent = spread(subject, "sale through the agent", kept[5:], "ms", **base)
    added, limit = with_agent.value - without.value, 2 * percentile(syncs, 50) + 1
    goal = f"<= 2 syncs + 1 ms = {limit:.2f} ms"
    return [
        without,
        with_agent,
        Figure(subject, "added by the agent, p50", added, "ms", goal=goal, met=added <= limit),
        spread(subject, "sale with a new connection for each call", anew[2:], "ms", **base),
    ]


def _sale_ms(call: Callable[[str, dict[str, Any]], Any], reference: str) -> float:
    params = {"reference": reference, "amount_minor": 1250, "lane": "unionpay", **CARD}
    began = time.perf_counter()
    answer = call("transaction.run", params)
    taken = 1000 * (time.perf_counter() - began)
    if answer["state"] != "completed":
        raise RuntimeError(f"the sale is {answer['state']}")
    return taken


def _exchanges_ms(port: int, count: int) -> list[float]:
    """The same request on one standing connection, MAC made and reply unpacked as any client must."""
    profile = load_profile("unionpay-pos")
    request = Message("0200", {3: "000000", 4: "000000001250", 11: "000001", 22: "012", 25: "00", 41: "10000001",
                               42: "102110000000001", 49: "156", 60: "22000017"})  # fmt: skip
    samples = []
    with socket.create_connection(("127.0.0.1", port)) as channel:
        channel.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(count):
            began = time.perf_counter()
            body = profile.codec.pack(reserve(profile, request))
            mac = compute(profile.mac, KEY, mac_input(profile.mac, body))
            channel.sendall(wrap(profile, place(profile, body, mac)))
            reader, frames = EnvelopeReader(profile), []
            while not frames:
                frames = reader.feed(channel.recv(4096))
            profile.codec.unpack(frames[0].body)
            samples.append(1000 * (time.perf_counter() - began))
    return samples


def _sync_ms(file: Path, count: int) -> list[float]:
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    block = os.urandom(4096)
    samples = []
    for _ in range(count):
        began = time.perf_counter()
        os.write(descriptor, block)
        os.fdatasync(descriptor)
        samples.append(1000 * (time.perf_counter() - began))
    os.close(descriptor)
    return samples


# --- drain -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Alone:
    """The baseline of a drain: one exchange with this host by a client that keeps nothing, and one sync, both p50."""

    exchange_ms: float
    sync_ms: float


def drain(directory: Path, compiled: Path, cases: list[tuple[int, int, int]], back: Sequence[int] = ()) -> list[Figure]:
    """From the first reversal on the wire to the last.

    Each of `cases`: (pending, lanes, round trip in ms), and the agent starts: its start goes on beside the first ones.
    Each of `back`: so many pending on 32 lanes, 0 ms, and the host comes back while the agent runs.
    """
    every = [(*case, False) for case in cases] + [(pending, 32, 0, True) for pending in back]
    found = []
    for number, (pending, lanes, delay_ms, comes_back) in enumerate(every):
        with Host(compiled, delay_ms=delay_ms) as twin:
            round_trip_ms = percentile(_exchanges_ms(twin.port, 20 if delay_ms else 500), 50)
        with Host(compiled, delay_ms=delay_ms, closed=comes_back) as host:
            rows = [(f"lane{row}", "unionpay-pos", host.port) for row in range(lanes)]
            scene = Place(directory / f"drain-{number}", rows, compiled=compiled)
            scene.seed(pending)
            alone = Alone(round_trip_ms, percentile(_sync_ms(scene.directory / "sync", 100), 50))
            if comes_back:
                scene.agent.start()
                host.listen()
            else:
                scene.agent.spawn()
            name = f"{pending:,} pending, {lanes} lanes, {delay_ms} ms{', the host comes back' if comes_back else ''}"
            found.append(_drained(name, scene, host, (pending, lanes), alone))
    return found


def _drained(name: str, scene: Place, host: Host, size: tuple[int, int], alone: Alone) -> Figure:
    subject, (pending, lanes) = "Drain after an outage", size
    books = host.books()
    while books["different"] < pending:
        time.sleep(0.2)
        books, before = host.books(), books["different"]
        if books["different"] == before and books["first_at"] and time.monotonic() - books["last_at"] > 30:
            raise RuntimeError(
                f"the drain stands still at {before} of {pending}: {scene.agent.log_file.read_text()[-2000:]}"
            )
    agent_ms, cpu_host, peak = cpu_ms(scene.agent.pid), cpu_ms(host.pid), memory_peak_mb(scene.agent.pid)
    scene.agent.stop()
    seconds = max(books["last_at"] - books["first_at"], 1e-6)
    rate = pending / seconds
    network_s = alone.exchange_ms / 1000 * pending / lanes
    by_network = network_s > pending / 2000
    note = f"CPU an item: agent {agent_ms / pending:.2f} ms, host {cpu_host / pending:.2f} ms; peak {peak:.0f} MB"
    if by_network:
        return Figure(subject, name, seconds, "s", baseline_name="round trip x items / lanes", baseline=network_s,
                      goal="<= 1.10x", met=seconds <= 1.1 * network_s, note=note)  # fmt: skip
    in_turn = 1000 / (alone.exchange_ms + alone.sync_ms)
    return Figure(subject, name, rate, "a second", baseline_name="exchange and sync in turn", baseline=in_turn,
                  goal=">= 2,000", met=rate >= 2000, note=note)  # fmt: skip


# --- growth ------------------------------------------------------------------------------------


def growth(directory: Path, sizes: list[int], commits: int) -> list[Figure]:
    """The cost of one commit with few and with many records before it."""
    subject = "Growth"
    found: list[Figure] = []
    first = 0.0
    for size in sizes:
        samples, looks = _grown(_fresh(directory / f"growth-{size}"), size, commits)
        for name, values in (("append", samples), ("find", looks)):
            base = next((figure.value for figure in found if figure.name.startswith(f"{name} ")), 0.0)
            figure = spread(subject, f"{name} after {size:,} records", values, "us")
            first = base or figure.value
            met = figure.value <= 1.5 * first
            more = {"baseline_name": f"after {sizes[0]:,}", "baseline": first, "goal": "<= 1.5x", "met": met}
            found.append(Figure(**{**figure.__dict__, **more}))
    return found


def _grown(directory: Path, size: int, commits: int) -> tuple[list[float], list[float]]:
    """Microseconds of each append and of each look-up in a journal of `size` records."""
    journal = Home(directory).open(presize_bytes=4 << 20)
    _fill(journal, size)
    samples, looks = [], []
    for number in range(commits):
        samples.append(bench_journal.timed(partial(bench_journal.commit, journal, number)))
        looks.append(bench_journal.timed(partial(journal.find, "L1", f"ref-t{number // 4}")))
    journal.close()
    return samples, looks


def _fill(journal: Journal, size: int) -> None:
    public = '{"amount_minor":100}' * 45
    for start in range(0, size, 500):
        many = [entry(f"old{n}", "reversed", False, public=public) for n in range(start, min(start + 500, size))]
        journal.append(many)


def _fresh(directory: Path) -> Path:
    directory.mkdir(parents=True)
    return directory
