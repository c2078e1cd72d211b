"""Where the running agent can be found: socket, status file, language; and how a command fails in plain words.

`reversalctl status` must answer at once and also when the configuration is broken, so only three keys of the file are
read here, without its checks; a test compares them with agent.config.
"""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from protocol.errors import AgentError

if TYPE_CHECKING:
    from agent.texts import Text

DEFAULT_CONFIGURATION = Path("/etc/reversald/reversald.toml")
DEFAULT_RUN_DIR = Path("/run/reversald")
STATUS_FILE = "status.json"
SOCKET_FILE = "agent.sock"


class CommandError(AgentError):
    """reversalctl cannot do what was asked; the texts of `code` stand in the catalogue under [command.*]."""

    def __init__(self, code: str, **values: str | Text) -> None:
        self.code = code
        self.values = values
        super().__init__(self.sentence("en"), self.step("en"))

    @property
    def exit_status(self) -> int:
        """As in sysexits.h; 2 and 3 for `status`."""
        from agent.texts import catalogue  # 15 ms, needed only when something is wrong

        return catalogue().commands[self.code].exit_status

    def sentence(self, language: str) -> str:
        """What is wrong."""
        return self._texts()[0].of(language)

    def step(self, language: str) -> str:
        """What to do next."""
        return self._texts()[1].of(language)

    def _texts(self) -> tuple[Text, Text]:
        from agent.texts import catalogue  # 15 ms, needed only when something is wrong

        entry = catalogue().commands[self.code]
        return entry.text.fill(self.values), entry.action.fill(self.values)


class Place:
    """Found from the options, then from the configuration, then from the defaults."""

    def __init__(self, options: Namespace, environment: Mapping[str, str] = os.environ) -> None:
        self._options = options
        self._environment = environment
        self._read: dict[str, Any] | None = None

    @property
    def configuration_file(self) -> Path:
        """The file named by --config or REVERSALD_CONFIG, else the usual one."""
        given = self._options.config or self._environment.get("REVERSALD_CONFIG")
        return Path(given) if given else DEFAULT_CONFIGURATION

    @property
    def status_file(self) -> Path:
        """status.json."""
        return Path(self._options.status_file) if self._options.status_file else self._run_dir / STATUS_FILE

    @property
    def socket(self) -> Path:
        """The API's socket; a relative one begins at the run directory."""
        if self._options.socket:
            return Path(self._options.socket)
        return self._run_dir / str(self._agent().get("socket", SOCKET_FILE))

    def language(self, otherwise: str = "") -> str:
        """As asked for; else `otherwise` (of the status file), the configuration's, the terminal's."""
        chosen: str = self._options.language or otherwise
        if chosen:
            return chosen
        return str(self._configured_language() or self._locale())

    def _configured_language(self) -> str:
        """A broken configuration does not keep a command from speaking."""
        try:
            return str(self._agent().get("language", ""))
        except CommandError:
            return ""

    def _locale(self) -> str:
        """The first that is set decides, as in setlocale(3)."""
        names = ("LC_ALL", "LC_MESSAGES", "LANG")
        wish = next((self._environment[name] for name in names if self._environment.get(name)), "")
        return "zh" if wish.lower().startswith("zh") else "en"

    @property
    def _run_dir(self) -> Path:
        return self.configuration_file.parent / str(self._agent().get("run_dir", DEFAULT_RUN_DIR))

    def _agent(self) -> dict[str, Any]:
        """The table [agent] of the configuration; empty where the usual file does not exist, or is not for our eyes:
        status and socket are for users who may not read who the host is.
        """
        if self._read is None:
            self._read = self._load()
        return self._read

    def _load(self) -> dict[str, Any]:
        file = self.configuration_file
        try:
            text = file.read_text(encoding="utf-8")
        except OSError as error:
            if file == DEFAULT_CONFIGURATION and isinstance(error, FileNotFoundError | PermissionError):
                return {}
            raise CommandError("C-BAD-CONFIG", path=str(file), problem=error.strerror or "") from None
        except ValueError:
            raise CommandError("C-BAD-CONFIG", path=str(file), problem="it is no TOML in UTF-8") from None
        return self._table(file, text)

    def _table(self, file: Path, text: str) -> dict[str, Any]:
        import tomllib  # 15 ms, not needed where the places are given

        try:
            table = tomllib.loads(text).get("agent", {})
        except ValueError:
            raise CommandError("C-BAD-CONFIG", path=str(file), problem="it is no TOML in UTF-8") from None
        return table if isinstance(table, dict) else {}
