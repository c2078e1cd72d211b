"""As test_drivers_any_bytes.py, for the PIN pad and the contactless reader."""

from __future__ import annotations

import pytest

from tests.any_bytes import converse

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.mark.parametrize("name", ["pinpad", "contactless"])
def test_any_bytes_leave_the_driver_able_to_complete_the_next_command(name: str) -> None:
    converse(name)
