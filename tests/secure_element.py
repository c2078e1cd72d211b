"""A simulated secure element behind a real program: what the tests of wrapped keys stand on."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from agent.wrapping_program import WrappingProgram

TIMEOUT_S = 20.0


class SecureElement:
    """Program and element in a directory of its own, which others than its owner cannot enter."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(mode=0o700)
        self.program = directory / "element"
        source = Path(__file__).with_name("secure_element_program.py").read_text()
        self.program.write_text(f"#!{sys.executable} -ISB\n{source}")
        self.program.chmod(0o755)
        self.key_file = directory / "element.key"
        self.key_file.write_bytes(os.urandom(32))
        self.key_file.chmod(0o600)
        self.be("well")

    def be(self, mood: str) -> None:
        """How it behaves from now on: see secure_element_program.py."""
        (self.directory / "mood").write_text(mood)

    @property
    def runs(self) -> list[str]:
        """What was asked of it: wrap, unwrap."""
        return [line.split()[0] for line in self._lines()]

    @property
    def environments(self) -> set[str]:
        """The names in its environment."""
        return {name for line in self._lines() for name in line.split()[1:]}

    @property
    def command(self) -> tuple[str, ...]:
        """As the configuration names it."""
        return str(self.program), str(self.directory)

    @property
    def table(self) -> str:
        """A [[keys.wrapping]] of a configuration."""
        return f'[[keys.wrapping]]\nprogram = ["{self.program}", "{self.directory}"]\ntimeout_s = 10.0\n'

    def wrapper(self, timeout_s: float = TIMEOUT_S) -> WrappingProgram:
        """What asks it."""
        return WrappingProgram(self.command, timeout_s)

    def _lines(self) -> list[str]:
        runs = self.directory / "runs"
        return runs.read_text().splitlines() if runs.exists() else []
