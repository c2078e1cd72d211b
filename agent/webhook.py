"""Alerts as HTTP POST requests, from a thread of their own. Loaded with the first alert that has a webhook."""

from __future__ import annotations

import contextlib
import queue
import threading
import urllib.error
import urllib.request
from http.client import HTTPException
from typing import Any

from agent.alert_channel import WAITING_MAX, Trouble, line_of
from agent.alerts import Notice
from agent.config_watch import Alerts


class WebhookChannel:
    """HTTP POST in a thread that lives as long as there is something to send; a daemon thread, so it ends with us."""

    def __init__(self) -> None:
        self._waiting: queue.Queue[tuple[Notice, Alerts] | None] = queue.Queue(WAITING_MAX)
        self._thread: threading.Thread | None = None
        self._trouble = Trouble("webhook")

    def put(self, notice: Notice, rules: Alerts) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="webhook", daemon=True)
            self._thread.start()
        try:
            self._waiting.put_nowait((notice, rules))
        except queue.Full:
            self._trouble.failed(f"{WAITING_MAX} wait already")

    def close(self) -> None:
        with contextlib.suppress(queue.Full):
            self._waiting.put_nowait(None)

    def _work(self) -> None:
        while (given := self._waiting.get()) is not None:
            self._post(*given)

    def _post(self, notice: Notice, rules: Alerts) -> None:
        headers = {"Content-Type": "application/json; charset=utf-8", "User-Agent": "reversald"}
        request = urllib.request.Request(rules.webhook, line_of(notice), headers, method="POST")
        try:
            with _OPENER.open(request, timeout=rules.webhook_timeout_s):
                self._trouble.worked()
        except urllib.error.HTTPError as error:
            with error:
                self._trouble.failed(f"HTTP {error.code}")
        except (OSError, HTTPException, UnicodeError) as error:  # UnicodeError: a part of the name is too long
            self._trouble.failed(type(error).__name__)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """An alert goes where the configuration says, nowhere else."""

    def redirect_request(self, *_args: Any, **_names: Any) -> None:
        return None


_OPENER = urllib.request.build_opener(_NoRedirect, urllib.request.ProxyHandler({}))
