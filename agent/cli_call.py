"""How reversalctl talks to the running agent, and what it says when that fails."""

from __future__ import annotations

from typing import Any, Protocol

from agent.cli_items import nearest
from agent.cli_place import CommandError, Place
from agent.client import AgentClient, ApiError, OutcomeUnknownError, UnreachableError

# A person waits for the answer; a commit on a worn card takes seconds.
DEADLINE_S = 15.0
# Before a new configuration is taken over, the exchange under way ends. Below what systemd gives a reload (90 s).
RELOAD_S = 80.0


class Call(Protocol):
    """One call of the API. Raises CommandError."""

    def __call__(self, method: str, **params: Any) -> Any: ...


class Caller:
    """Calls the agent over its socket. `deadline_s`: of each call."""

    def __init__(self, place: Place, deadline_s: float = DEADLINE_S) -> None:
        self._place = place
        self._deadline_s = deadline_s
        self._client: AgentClient | None = None

    def __call__(self, method: str, **params: Any) -> Any:
        """The method's result. Raises CommandError."""
        client = self._connected()
        try:
            return client.call(method, params, RELOAD_S if method == "agent.reload" else None)
        except UnreachableError as error:
            code = "C-NOT-ALLOWED" if error.code == "A-NOT-ALLOWED" else "C-NO-DAEMON"
            raise CommandError(code, path=str(client.path), problem=error.text) from None
        except OutcomeUnknownError as error:
            raise CommandError("C-UNKNOWN-OUTCOME", problem=error.text) from None
        except ApiError as error:
            if error.code == "A-NO-ITEM" and "id" in params:
                raise self._no_item(str(params["id"])) from None
            from agent.texts_operations import refusal  # reads its file: only for a refusal

            raise CommandError("C-REFUSED", problem=refusal(error.code, error.text), hint=error.hint) from None

    def close(self) -> None:
        """End the connection."""
        if self._client is not None:
            self._client.close()

    def _connected(self) -> AgentClient:
        if self._client is None:
            self._client = AgentClient(self._place.socket, self._deadline_s)
        return self._client

    def _no_item(self, wanted: str) -> CommandError:
        items = self("reversal.list", all=True)["items"]
        return CommandError("C-NO-ITEM", id=wanted, nearest=", ".join(nearest(wanted, items)) or "-")
