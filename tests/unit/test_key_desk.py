"""What the running agent says of its data keys: where they stand, and nobody waits for what wraps them."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from agent.clock import Clock
from agent.keys import KeyDesk
from agent.lane import RefusedError
from agent.own_thread import in_own_thread
from agent.rpc_socket import Peer
from agent.status_conditions import of_keys
from agent.vault import Vault, VaultError
from tests.unit.json_schema import violations

ANNA = Peer(1, 1000, 1000, "anna")
SCHEMA = json.loads((Path(__file__).parents[2] / "docs/status.schema.json").read_text(encoding="utf-8"))


class Source:
    """A `KeyWrapper` in this process, which can be held up or taken away."""

    name = "wrapping program /bench"

    def __init__(self) -> None:
        self.free = threading.Event()
        self.free.set()
        self.asked = threading.Event()
        self.away = False
        self._kept: dict[bytes, bytes] = {}

    def fits(self, label: str) -> bool:
        return label == "program"

    def wrap(self, key: bytes) -> tuple[str, bytes]:
        self._wait()
        token = os.urandom(16)
        self._kept[token] = key
        return "program", token

    def unwrap(self, label: str, token: bytes) -> bytes:
        self._wait()
        return self._kept[token]

    def _wait(self) -> None:
        self.asked.set()
        assert self.free.wait(10)
        if self.away:
            raise VaultError(f"{self.name} says that its secure element is not there", "put it back")


class Loop:
    """The loop's part in it: how often everything pending was sealed anew."""

    def __init__(self) -> None:
        self.sealed = 0

    def seal_anew(self, by: str) -> int:
        self.sealed += 1
        return 1


class Bench:
    """A desk over a key file; `changes`: how often the status was told."""

    def __init__(self, directory: Path, *, wrapped: bool = True, configured: bool = True) -> None:
        self.file = directory / "key"
        self.source, self.loop, self.changes = Source(), Loop(), 0
        Vault.open_or_create(self.file, [], [self.source] if wrapped else []).settle()
        self.vault = Vault.open(self.file, [self.source] if configured else [])
        self.desk = KeyDesk(self.vault, self.loop, self.file, self._changed, Clock().now)  # type: ignore[arg-type]

    def _changed(self) -> None:
        self.changes += 1

    async def call(self, method: str, **params: Any) -> Any:
        answer = self.desk.methods()[method](ANNA, params)
        return await answer if asyncio.iscoroutine(answer) else answer

    def shown(self) -> list[str]:
        """The codes of its conditions, and the part of the status kept to its schema."""
        part = self.desk.wrapping()
        assert list(violations(part, SCHEMA["properties"]["keys"], SCHEMA)) == []
        return [one["code"] for one in self.desk.conditions()]


def test_keys_in_clear_need_nothing_and_say_nothing(tmp_path: Path) -> None:
    bench = Bench(tmp_path, wrapped=False, configured=False)
    asyncio.run(bench.call("keys.rotate"))
    told = asyncio.run(bench.call("keys.list"))
    assert told["wrapping"] == {"under": "", "wanted": "", "reached": None, "problem": ""}
    assert (bench.shown(), bench.loop.sealed) == ([], 1)
    with pytest.raises(VaultError, match="nothing is configured"):
        asyncio.run(bench.call("keys.wrap"))


def test_keys_in_clear_although_a_source_is_configured_are_a_condition_until_they_are_wrapped(tmp_path: Path) -> None:
    bench = Bench(tmp_path, wrapped=False)
    assert bench.shown() == ["S-DATA-KEY-FORM"]
    told = asyncio.run(bench.call("keys.wrap"))
    assert told == {"under": Source.name, "wanted": Source.name, "reached": True, "problem": ""}
    assert (bench.shown(), bench.changes) == ([], 1)
    asyncio.run(bench.call("keys.unwrap"))
    assert bench.shown() == ["S-DATA-KEY-FORM"]


@pytest.mark.parametrize("method", ["keys.rotate", "keys.wrap", "keys.destroy"])
def test_without_its_source_nothing_changes_and_it_is_said_until_it_is_back(tmp_path: Path, method: str) -> None:
    bench = Bench(tmp_path)
    before = bench.file.read_bytes()
    bench.source.away = True
    with pytest.raises(VaultError, match="not there"):
        asyncio.run(bench.call(method, **({"now": True} if method == "keys.destroy" else {})))
    assert (bench.file.read_bytes(), bench.loop.sealed) == (before, 0)
    assert bench.shown() == ["S-DATA-KEY-SOURCE"]
    assert "安全芯片不在位" in bench.desk.conditions()[0]["text_zh"]
    bench.source.away = False
    assert asyncio.run(bench.call("keys.check"))["reached"] is True
    assert bench.shown() == []


def test_a_check_finds_out_and_changes_nothing(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    before = bench.file.read_bytes()
    bench.source.away = True
    told = asyncio.run(bench.call("keys.check"))
    assert (told["reached"], "not there" in told["problem"]) == (False, True)
    bench.source.away = False
    bench.file.write_bytes(before[:-20])
    assert "damaged" in asyncio.run(bench.call("keys.check"))["problem"]
    bench.file.unlink()
    assert "No such file" in asyncio.run(bench.call("keys.check"))["problem"]


def test_while_the_source_is_slow_the_loop_goes_on_and_changes_wait_for_their_turn(tmp_path: Path) -> None:
    bench = Bench(tmp_path)

    async def play() -> list[str]:
        bench.source.asked.clear()
        bench.source.free.clear()
        first = asyncio.ensure_future(bench.call("keys.rotate"))
        assert await in_own_thread(lambda: bench.source.asked.wait(10))
        second = asyncio.ensure_future(bench.call("keys.rotate"))
        for _ in range(10):
            await asyncio.sleep(0)
        listed = await bench.call("keys.list")  # answers at once
        assert len(listed["keys"]) == 1
        bench.source.free.set()
        return [(await one)["key_id"] for one in (first, second)]

    first, second = asyncio.run(play())
    found = Vault.open(bench.file, [bench.source]).keys()
    assert (found[first], found[second], len(found)) == ("opens", "seals", 3)


def test_a_young_key_is_not_destroyed_and_a_key_file_that_is_gone_is_an_error(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    with pytest.raises(RefusedError, match="0 h old"):
        asyncio.run(bench.call("keys.destroy"))
    bench.file.unlink()
    with pytest.raises(VaultError, match="cannot be read"):
        asyncio.run(bench.call("keys.destroy"))


def test_both_conditions_stand_in_both_languages() -> None:
    found = of_keys(
        {"under": "", "wanted": "credential /run/x", "reached": False, "problem": "credential /run/x is odd"}
    )
    assert [one["code"] for one in found] == ["S-DATA-KEY-SOURCE", "S-DATA-KEY-FORM"]
    assert "systemd 凭据 /run/x" in found[1]["text_zh"]
