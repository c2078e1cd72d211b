"""The API's side of technicians: every device, its test, and taking it out of service."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from agent.lane import RefusedError
from agent.operator_desk import persons_words
from agent.rpc import Peer, take
from protocol.errors import AgentError

# A device's test, the slip of a slow printer included. Assumed; reversalctl waits 15 s for an answer.
DEVICE_TEST_S = 10.0


class Devices(Protocol):
    """What a technician does with a device (agent/room.py). Each raises an AgentError where it cannot be done."""

    def inhibit(self, name: str, reason: str) -> None:
        """Take it out of service."""

    def release(self, name: str) -> None:
        """Put it back."""

    async def test(self, name: str, timeout_s: float) -> str:
        """Exercise it; what was seen."""

    def attached(self) -> list[dict[str, str]]:
        """What is plugged in and not configured."""


class DeviceDesk:
    """Methods by name in `methods`. `views()`: every configured device as it is shown (agent/status_views.py)."""

    def __init__(self, devices: Devices, views: Callable[[], list[dict[str, Any]]]) -> None:
        self._devices = devices
        self._views = views
        self.methods: dict[str, Callable[[Peer, dict[str, Any]], Any]] = {
            "device.list": self.list,
            "device.test": self.test,
            "device.inhibit": self.inhibit,
            "device.release": self.release,
        }

    def list(self, peer: Peer, params: dict[str, Any]) -> Any:
        """Every device: state, firmware, counters, last error; and what is plugged in without being configured."""
        take(params, {})
        return {"devices": self._views(), "attached": self._devices.attached()}

    async def test(self, peer: Peer, params: dict[str, Any]) -> Any:
        """Exercise one device without a customer: passed and what was seen, or what to do."""
        name = self._device(take(params, {"name": (str,)})["name"])
        try:
            seen, error = await self._devices.test(name, DEVICE_TEST_S), None
        except AgentError as failure:
            seen, error = "", {"code": failure.code, "text": failure.text, "hint": failure.hint}
        return {"device": self._view(name), "passed": error is None, "seen": seen, "error": error}

    def inhibit(self, peer: Peer, params: dict[str, Any]) -> Any:
        """A technician takes one device out of service; nothing is asked of it until its release."""
        given = take(params, {"name": (str,), "why": (str,)})
        name = self._device(given["name"])
        self._devices.inhibit(name, f"{persons_words(given['why'], 'why')} ({peer.name})")
        return self._view(name)

    def release(self, peer: Peer, params: dict[str, Any]) -> Any:
        """The technician gives it back."""
        name = self._device(take(params, {"name": (str,)})["name"])
        self._devices.release(name)
        return self._view(name)

    def _device(self, wanted: str) -> str:
        """The name of the device that is meant: by its name, or by its kind where there is one of that kind."""
        devices = self._views()
        names = [device["name"] for device in devices]
        of_kind = [device["name"] for device in devices if device["kind"] == wanted]
        if wanted in names:
            return wanted
        if len(of_kind) == 1:
            return str(of_kind[0])
        known = f"devices: {', '.join(names)}" if names else "no devices are configured"
        raise RefusedError("A-NO-DEVICE", f"there is no device {wanted!r}", known)

    def _view(self, name: str) -> Any:
        return next(device for device in self._views() if device["name"] == name)
