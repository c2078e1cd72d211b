"""Simulated acquirer host: its own ISO 8583 codec, a money ledger, scripted faults, a TCP server."""

from __future__ import annotations

from hwsim.host.codec import HostCodec, HostMessage
from hwsim.host.command import main
from hwsim.host.dialects import DIALECTS, dialect
from hwsim.host.entries import Entry, Facts, Key, LedgerRules, Violation
from hwsim.host.faults import FAULT_NAMES, Fault, FaultPlan
from hwsim.host.ledger import Ledger
from hwsim.host.machine import HostMachine
from hwsim.host.server import HostServer, HostServerError, HostWaitExpired
from hwsim.host.settings import HostSettings

__all__ = [
    "DIALECTS",
    "FAULT_NAMES",
    "Entry",
    "Facts",
    "Fault",
    "FaultPlan",
    "HostCodec",
    "HostMachine",
    "HostMessage",
    "HostServer",
    "HostServerError",
    "HostSettings",
    "HostWaitExpired",
    "Key",
    "Ledger",
    "LedgerRules",
    "Violation",
    "dialect",
    "main",
]
