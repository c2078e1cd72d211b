"""The bench can be run: no figure is judged here."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest

from tests.bench.__main__ import main


@pytest.mark.slow
def test_every_bench_gives_its_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with tempfile.TemporaryDirectory(prefix="b") as short:  # a socket's path has at most 107 bytes
        assert main(["--quick", "--json", str(tmp_path / "bench.json"), "--directory", short]) == 0
    document = json.loads((tmp_path / "bench.json").read_text())
    subjects = {figure["subject"] for figure in document["figures"]}
    assert len(subjects) == 11
    assert all(figure["value"] >= 0 for figure in document["figures"])
    told = capsys.readouterr().out
    assert all(f"### {subject}" in told for subject in subjects)
