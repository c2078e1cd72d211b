"""`reversalctl status`: reads the status file, also when the agent is dead, and then says so first.

Exit status for monitoring: 0 ok, 1 warning, 2 critical (also: dead, hanging or stopped), 3 nothing can be known.
Imports little: it must answer within 80 ms.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from agent.cli_place import CommandError, Place
from agent.status_alive import age_s, life
from agent.status_text import render, short_span

SCHEMA = 1  # agent/status.py; not imported, since that would load half the daemon
EXIT = {"ok": 0, "warning": 1, "critical": 2, "unknown": 3}
_NOTICES = {"dead": "C-DEAD", "rebooted": "C-REBOOTED", "silent": "C-SILENT", "stopped": "C-STOPPED"}


def read_status(path: Path) -> dict[str, Any]:
    """The document. Raises CommandError: there is none, it cannot be read, it is of another release."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CommandError("C-NO-STATUS", path=str(path)) from None
    except OSError as error:
        raise CommandError("C-BAD-STATUS", path=str(path), problem=error.strerror or "") from None
    except ValueError:
        raise CommandError("C-BAD-STATUS", path=str(path), problem="it is not JSON") from None
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        raise CommandError("C-BAD-STATUS", path=str(path), problem=f"its schema is not {SCHEMA}")
    return document


def trouble(document: dict[str, Any], now_mono: float, language: str = "en") -> CommandError | None:
    """What is to be said before a status whose writer does not live as it should."""
    found = life(document, now_mono)
    code = _NOTICES.get(found)
    if code is None:
        return None
    if found == "silent" and any(fault["part"] == "status" for fault in document.get("watch", {}).get("faults", ())):
        code = "C-SHOW"  # it lives: it wrote that fault into the old status
    age = short_span(age_s(document, now_mono), language)
    reason = (document.get("stopped") or {}).get("reason") or "as asked"
    return CommandError(code, pid=str(document["agent"]["pid"]), age=age, reason=reason)


def show_status(place: Place, as_json: bool, now_mono: float) -> tuple[str, int]:
    """The text for standard output and the exit status."""
    document = read_status(place.status_file)
    language = place.language(document["language"])
    wrong = trouble(document, now_mono, language)
    status = EXIT[document["overall"]["severity"]] if wrong is None else wrong.exit_status
    if as_json:
        reader = {"life": life(document, now_mono), "age_s": round(age_s(document, now_mono), 1), "exit": status}
        return json.dumps({**document, "reader": reader}, ensure_ascii=False) + "\n", status
    notice = None if wrong is None else (f"{wrong.code}: {wrong.sentence(language)}", wrong.step(language))
    return render(document, language, notice=notice), status
