"""Coverage-guided fuzzing: what was ever found or reached stays harmless, and a bounded search finds nothing new.

`make fuzz TARGET=reply` searches until it is stopped and keeps what reaches something new in tests/fuzz/corpus.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.targets import CODEC, TARGETS, Shop, _changed, may_clear, reply

CORPUS = Path(__file__).parent / "corpus"
ROOT = Path(__file__).parents[2]
SEED = 20261122
# Executions of a search in CI: together well below a minute on one core.
RUNS = {"reply": 700, "message": 500, "stream": 1_500, "api": 30_000, "serial": 2_500, "usb": 2_500}
MEMORY_MIB_MAX = 512
HANG_S = 20


@pytest.mark.parametrize("name", TARGETS)
def test_the_corpus_is_there_and_harmless(name: str) -> None:
    kept = sorted((CORPUS / name).iterdir())
    assert len(kept) >= 5
    for path in kept:
        TARGETS[name](path.read_bytes())


def test_the_fuzzer_can_reach_a_reversal_that_is_cleared() -> None:
    """Otherwise its search for wrong clears would prove nothing."""
    shop = Shop()
    shop.begin()
    shop.lose()
    sent = CODEC.unpack(shop.wire.sent[-1][0].body)
    assert may_clear(_changed(sent, b""), sent)
    reply(b"\0")


def test_a_wrong_clear_would_be_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(reply.__globals__, "may_clear", lambda body, sent: False)
    with pytest.raises(AssertionError, match="must not clear"):
        reply(b"\0")


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", TARGETS)
def test_a_bounded_search_finds_nothing(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if importlib.util.find_spec("atheris") is None:
        pytest.skip("no atheris for this machine: pip install atheris (x86_64)")
    corpus = shutil.copytree(CORPUS / name, tmp_path / "corpus")
    options = [
        f"-runs={RUNS[name]}",
        f"-seed={SEED}",
        f"-rss_limit_mb={MEMORY_MIB_MAX}",
        f"-timeout={HANG_S}",
        "-max_len=600",
        f"-artifact_prefix={tmp_path}/finding-",
    ]
    command = [sys.executable, "-m", "tests.fuzz", name, str(corpus), *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, errors="replace", check=False)
    findings = sorted(tmp_path.glob("finding-*"))
    assert not findings, f"{findings[0].read_bytes().hex()}\n{done.stderr[-2000:]}"
    assert done.returncode == 0, done.stderr[-2000:]
    ended = re.search(r"#(\d+)\s+DONE\s+cov: (\d+) ft: (\d+) corp: (\d+)", done.stderr)
    assert ended is not None, done.stderr[-2000:]
    executions, edges, _, kept = map(int, ended.groups())
    with capsys.disabled():
        print(f"\nfuzz {name}: {executions} executions, {edges} edges, {kept} inputs kept")
    assert executions >= RUNS[name]
    assert edges > 20
