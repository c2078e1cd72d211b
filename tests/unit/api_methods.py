"""The methods that the client and docs/api.md know: the application's, operators' and technicians'."""

from __future__ import annotations

from typing import Any

from agent.api import Api
from agent.device_desk import DeviceDesk
from agent.operator_desk import OperatorDesk

_NOTHING: Any = None
METHODS = (
    *Api(_NOTHING, "on-approval").methods,
    *OperatorDesk(_NOTHING, {}, _NOTHING).methods,
    *DeviceDesk(_NOTHING, _NOTHING).methods,
    "agent.reload",
)
