"""What the daemon keeps out of its process stays out, and everything else is as if nothing had been."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

from agent import lean

ABSENT, PRESENT = "this_is_no_module", "json"


def test_a_name_kept_out_cannot_be_imported_and_is_back_afterwards() -> None:
    sys.modules.pop("colorsys", None)
    with lean.without(["colorsys"]), pytest.raises(ImportError):
        import colorsys
    import colorsys

    assert colorsys.rgb_to_hsv(0, 0, 0) == (0, 0, 0)


def test_what_is_loaded_already_is_left_alone() -> None:
    before = sys.modules[PRESENT]
    with lean.without([PRESENT]), lean.hollow([PRESENT]):
        assert sys.modules[PRESENT] is before
    assert sys.modules[PRESENT] is before


def test_a_hollow_module_has_nothing_and_does_not_stay() -> None:
    sys.modules.pop("colorsys", None)
    with lean.hollow(["colorsys"]):
        import colorsys

        assert not hasattr(colorsys, "rgb_to_hsv")
    assert "colorsys" not in sys.modules


def test_the_table_of_modules_is_right_again_after_an_error() -> None:
    with pytest.raises(RuntimeError), lean.without([ABSENT]), lean.hollow([f"{ABSENT}_2"]):
        raise RuntimeError
    assert not {ABSENT, f"{ABSENT}_2"} & set(sys.modules)


def test_a_daemon_without_tls_has_no_openssl_of_the_system_and_can_load_it_later() -> None:
    program = (
        "import sys\n"
        "from agent.__main__ import main\n"
        "assert main(['--check-config', '--config', '/nowhere.toml']) == 78\n"
        "loaded = {'_ssl', '_hashlib'} & set(sys.modules)\n"
        "assert not loaded, loaded\n"
        "from agent.tls import tls_client\n"
        "from agent.tls_settings import TlsSettings\n"
        "assert tls_client(TlsSettings(pins=('00' * 32,)), 'host').stream().greet() is False\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "/nowhere.toml" in done.stderr


def test_what_has_done_its_work_is_forgotten_and_can_be_had_again() -> None:
    import colorsys

    lean.forget(["colorsys", ABSENT])
    assert "colorsys" not in sys.modules
    assert importlib.import_module("colorsys") is not colorsys
