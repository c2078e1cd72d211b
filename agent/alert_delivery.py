"""Alerts on their way to people: log, command hook, webhook, slip. Never in a reversal's way.

Rules not to break:
1. Nothing here waits in the event loop's thread: the program is a child process with a time limit, the HTTP request
   runs in a thread of its own, and both get one alert after the other.
2. No shell: the program is started with its arguments as they are, the alert comes on standard input.
3. A channel that fails is logged once and once more when it works; alerts beyond `WAITING_MAX` are dropped and counted.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from agent.alert_channel import WAITING_MAX, Trouble, line_of
from agent.alerts import Notice
from agent.config_watch import Alerts
from agent.texts_operations import operations

if TYPE_CHECKING:
    from agent.webhook import WebhookChannel

log = logging.getLogger("reversald.alert")

Spawn = Callable[[Coroutine[Any, Any, None]], None]


class Delivery:
    """All channels. `spawn` runs a coroutine beside the daemon's work; `slip` prints an alert."""

    def __init__(self, spawn: Spawn, slip: Callable[[Notice], None], language: Callable[[], str]) -> None:
        self._spawn = spawn
        self._slip = slip
        self._language = language
        self._program = _ProgramChannel(spawn)
        self._webhook: WebhookChannel | None = None

    def deliver(self, notice: Notice, rules: Alerts) -> None:
        """Tell it on every channel that is configured."""
        self._log(notice)
        if rules.command:
            self._program.put(notice, rules)
        if rules.webhook:
            self._webhook_channel().put(notice, rules)
        if rules.slip == "critical" and notice.alert.severity == "critical" and notice.told == "raised":
            self._slip(notice)

    def close(self) -> None:
        """No more; what is under way ends by its time limit."""
        if self._webhook is not None:
            self._webhook.close()

    def _webhook_channel(self) -> WebhookChannel:
        if self._webhook is None:
            from agent.webhook import WebhookChannel  # urllib.request costs 20 ms and 3 MB: only where there is one

            self._webhook = WebhookChannel()
        return self._webhook

    def _log(self, notice: Notice) -> None:
        alert, language = notice.alert, self._language()
        told = operations().word("told", notice.told).of(language)
        critical = alert.severity == "critical"
        level = logging.INFO if notice.told == "cleared" else logging.ERROR if critical else logging.WARNING
        action = "" if notice.told == "cleared" else f" | {alert.action.of(language)}"
        log.log(level, "%s %s %s: %s%s", told, alert.code, alert.subject or "-", alert.text.of(language), action)


class _ProgramChannel:
    """A program, started once for each alert."""

    def __init__(self, spawn: Spawn) -> None:
        self._spawn = spawn
        self._waiting: list[tuple[Notice, Alerts]] = []
        self._busy = False
        self._trouble = Trouble("program")

    def put(self, notice: Notice, rules: Alerts) -> None:
        if len(self._waiting) >= WAITING_MAX:
            self._trouble.failed(f"{WAITING_MAX} wait already")
            return
        self._waiting.append((notice, rules))
        if not self._busy:
            self._busy = True
            self._spawn(self._work())

    async def _work(self) -> None:
        try:
            while self._waiting:
                await self._run(*self._waiting.pop(0))
        finally:
            self._busy = False

    async def _run(self, notice: Notice, rules: Alerts) -> None:
        try:
            process = await asyncio.create_subprocess_exec(
                *rules.command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
                start_new_session=True,
            )
        except OSError as error:
            self._trouble.failed(f"{rules.command[0]}: {error.strerror}")
            return
        try:
            async with asyncio.timeout(rules.command_timeout_s):
                await process.communicate(line_of(notice))
        except TimeoutError:
            self._trouble.failed(f"{rules.command[0]} did not end in {rules.command_timeout_s:g} s")
        else:
            self._ended(process.returncode, rules)
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()

    def _ended(self, status: int | None, rules: Alerts) -> None:
        if status:
            self._trouble.failed(f"{rules.command[0]} ended with {status}")
        else:
            self._trouble.worked()
