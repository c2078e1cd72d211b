"""The bench's own errors: sentences for the person at the bench."""

from __future__ import annotations

from protocol.errors import AgentError


class BenchError(AgentError):
    """The bench cannot do what it was asked to do."""

    code = "E-BENCH"
