"""The registry of host dialects by name."""

from __future__ import annotations

from collections.abc import Mapping

from hwsim.host.dialect import Dialect
from hwsim.host.dialect_iso87 import Iso87
from hwsim.host.dialect_iso93 import Iso93
from hwsim.host.dialect_nac import NacEdc
from hwsim.host.dialect_unionpay import UnionPay
from protocol.errors import AgentError

DIALECTS: Mapping[str, Dialect] = {dialect.name: dialect for dialect in (UnionPay(), Iso87(), NacEdc(), Iso93())}


class DialectUnknown(AgentError):
    """There is no host dialect of that name."""

    code = "E-HOST-DIALECT"


def dialect(name: str) -> Dialect:
    if name not in DIALECTS:
        raise DialectUnknown(f"no dialect {name!r}", f"use one of {', '.join(DIALECTS)}")
    return DIALECTS[name]
