"""A good file gives absolute paths and defaults; a wrong one gives every error with its key and line."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agent.config import ConfigError, PendingLimits, load, read_key_file, retry_rules, split_host
from tests.unit.config_samples import GOOD, RETRY, load_sample_profile, loaded, write


def problems(directory: Path, text: str) -> dict[str, tuple[int, str]]:
    """Key -> (line, what is wrong and right) of a text that must not load."""
    with pytest.raises(ConfigError) as caught:
        loaded(directory, text)
    return {problem.where: (problem.line, f"{problem.wrong}; {problem.right}") for problem in caught.value.problems}


def changed(old: str, new: str) -> str:
    assert GOOD.count(old) == 1, f"{old!r} must stand once in the sample"
    return GOOD.replace(old, new)


def line_of(text: str, part: str) -> int:
    return text[: text.index(part)].count("\n") + 1


def test_a_good_file_is_read_with_its_defaults(tmp_path: Path) -> None:
    config = loaded(tmp_path)
    assert [lane.name for lane in config.lanes] == ["till-1", "till-2"]
    assert config.lanes[0].hosts == ("127.0.0.1:5000", "[::1]:5001")
    assert config.lanes[0].currency == "156"
    assert config.policy.while_pending == PendingLimits(count=3, age_s=3600.0)
    assert config.policy.nobody_knows == "reverse"
    assert config.checkout is not None
    assert config.checkout.print is True
    assert config.source == tmp_path / "reversald.toml"


def test_every_path_is_absolute_and_begins_at_its_base(tmp_path: Path) -> None:
    config = loaded(tmp_path)
    assert config.agent.socket == tmp_path / "run/agent.sock"
    assert config.journal.path == tmp_path / "state/journal.db"
    assert config.keys.data_key_file == tmp_path / "state/data.key"
    assert config.profiles_directories == (tmp_path / "profiles",)
    assert config.lanes[0].mac_key_file == tmp_path / "mac.key"
    assert config.lanes[1].tls is not None
    assert config.lanes[1].tls.ca_file == tmp_path / "ca.pem"


def test_an_absolute_path_stays_as_it_is(tmp_path: Path) -> None:
    config = loaded(tmp_path, changed('run_dir = "run"', 'socket = "/run/x/agent.sock"'))
    assert config.agent.socket == Path("/run/x/agent.sock")


def test_the_smallest_file_is_one_lane(tmp_path: Path) -> None:
    lane = GOOD[GOOD.index('name = "till-2"') : GOOD.index("tls =")]
    config = loaded(tmp_path, f"[[lane]]\n{lane}")
    assert config.agent.state_dir == Path("/var/lib/reversald")
    assert config.policy.while_pending == "block"
    assert config.devices == ()
    assert config.checkout is None


def test_all_errors_of_a_file_come_at_once_in_the_order_of_lines(tmp_path: Path) -> None:
    text = (
        GOOD.replace('language = "zh"', 'langage = "zh"')
        .replace('"[::1]:5001"', '"nonsense"')
        .replace('"10000002"', '"1000"')
        .replace('kind = "pinpad"', 'kind = "pinpat"')
    )
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, text)
    found = [(problem.where, problem.line) for problem in caught.value.problems]
    assert found == [
        ("agent.langage", line_of(text, "langage")),
        ("lane[0].hosts[1]", line_of(text, "nonsense")),
        ("lane[1].terminal_id", line_of(text, '"1000"')),
        ("device[1].kind", line_of(text, "pinpat")),
    ]
    assert "4 errors in" in str(caught.value)
    assert "docs/configuration.md" in str(caught.value)
    assert caught.value.code == "E-CONFIG"


@pytest.mark.parametrize(
    ("old", "new", "where", "words"),
    [
        ('language = "zh"', 'langage = "zh"', "agent.langage", "did you mean 'language'?"),
        ('language = "zh"', 'colour = "red"', "agent.colour", "known here: state_dir, run_dir"),
        ("[policy]", "[polixy]", "polixy", "did you mean 'policy'?"),
        ('"by-application"', '"by-applicaton"', "policy.confirm", 'did you mean "by-application"?'),
        ('language = "zh"', "language = 7", "agent.language", '7 is not acceptable; expected one of "en" | "zh"'),
        ("{ count = 3, age_s = 3600 }", "{}", "policy.while_pending", "no limit is given"),
        ("{ count = 3, age_s = 3600 }", "{ count = 0 }", "policy.while_pending.count", "integer, 1 .. 1000"),
        ("{ count = 3, age_s = 3600 }", "true", "policy.while_pending", "a table or one of"),
        ("cap_s = 60", "cap_s = true", "lane[0].retry.cap_s", "true is not acceptable; expected number"),
        ("cap_s = 60", "cap_s = nan", "lane[0].retry.cap_s", "nan is not acceptable"),
        ("cap_s = 60", "cap_s = 1", "lane[0].retry", "cap_s (1) is shorter than base_s (5)"),
        ("cap_s = 60", "persistent_connection = 1", "lane[0].retry.persistent_connection", "true or false"),
        ('name = "till-1"', 'name = "Till 1"', "lane[0].name", "1 to 32 of a-z"),
        ('name = "till-1"', "", "lane[0].name", "is missing; expected text"),
        ('name = "till-2"', 'name = "till-1"', "lane[1].name", "by another lane already; every lane needs its own"),
        ('"10000002"', '"10000001"', "lane[1].terminal_id", "used by another lane already"),
        ('profile = "without-mac"', 'profile = "nobody"', "lane[1].profile", "there is no profile 'nobody'"),
        ('"127.0.0.1:5000"', '"127.0.0.1:70000"', "lane[0].hosts[0]", "no possible port; a port is 1 to 65535"),
        ('"127.0.0.1:5000"', '"[::1]:5001"', "lane[0].hosts", "given twice"),
        ('["host.example:7001"]', "[]", "lane[1].hosts", "a list of 1 to 8"),
        ('["host.example:7001"]', '"host.example:7001"', "lane[1].hosts", "a list of 1 to 8"),
        ('tls = { ca_file = "ca.pem" }', "tls = {}", "lane[1].tls", "anybody could be the host"),
        ('tls = { ca_file = "ca.pem" }', 'tls = { ca_file = "no.pem" }', "lane[1].tls.ca_file", "cannot be read"),
        ('ca_file = "ca.pem"', 'pin_sha256 = ["abc"]', "lane[1].tls.pin_sha256[0]", "64 hexadecimal digits"),
        ('ca_file = "ca.pem"', 'ca_file = "ca.pem", system_ca = true', "lane[1].tls.system_ca", "choose one"),
        ('ca_file = "ca.pem"', 'ca_file = "ca.pem", client_key = "mac.key"', "lane[1].tls.client_key", "give both"),
        ('mac_key_file = "mac.key"', "", "lane[0].mac_key_file", "is missing"),
        ('mac_key_file = "mac.key"', 'mac_key_file = "no.key"', "lane[0].mac_key_file", "No such file"),
        ('mac_key_file = "mac.key"', 'mac_key_file = "."', "lane[0].mac_key_file", "no regular file"),
        ('profile = "with-mac"', 'profile = "without-mac"', "lane[0].mac", "knows no MAC"),
        ('mac = "software"', 'mac = "pinpad"', "lane[0].pinpad", "is missing"),
        ('mac = "software"', 'mac = "pinpad"', "lane[0].mac_key", "is missing"),
        ('mac = "software"', 'mac = "pinpad"\npinpad = "paddy"', "lane[0].pinpad", "known devices: pad, reader"),
        ('driver = "ipp"', 'driver = "escpos"', "device[1].driver", 'does not drive a pinpad; use "ipp"'),
        ('port = "serial:/dev/pos/reader?baud=115200"', 'port = "/dev/ttyS0"', "device[0].port", "serial:/dev/pos"),
        ('name = "pad"', 'name = "reader"', "device[1].name", "used by another device already"),
        ('pinpad = "pad"', 'pinpad = "reader"', "checkout.pinpad", 'the device "reader" is a reader; name a pinpad'),
        ('pinpad = "pad"', 'printer = "lp"', "checkout.printer", 'there is no device "lp"; known devices: pad, reader'),
        ('profiles_directories = ["profiles"]', "profiles_directories = [1]", "profiles_directories[0]", "absolute"),
        ('profiles_directories = ["profiles"]', 'profiles_directories = "x"', "profiles_directories", "list of paths"),
        ('[agent]\nstate_dir = "state"\n', "[[agent]]\n", "agent", "expected table"),
        ('language = "zh"', 'language = "zh"\nstate_dirs = { a = 1 }', "agent.state_dirs", "did you mean 'state_dir'?"),
        ('run_dir = "run"', f'run_dir = "/{"r" * 107}"', "agent.socket", "use a shorter run_dir"),
        ('[policy]', '[journal]\nhighwater = "journal.db"\n[policy]', "journal.highwater", "same file as journal.path"),
    ],
)  # fmt: skip
def test_each_mistake_is_named_with_what_would_be_right(
    tmp_path: Path, old: str, new: str, where: str, words: str
) -> None:
    text = changed(old, new)
    found = problems(tmp_path, text)
    assert where in found
    line, sentence = found[where]
    assert words in sentence
    assert line > 0 or where == "agent.socket"


def test_a_missing_lane_is_an_error(tmp_path: Path) -> None:
    assert "lane" in problems(tmp_path, "[agent]\n")
    assert "lane" in problems(tmp_path, "lane = []\n")


def test_lanes_that_are_no_tables_are_an_error(tmp_path: Path) -> None:
    assert "an array of tables, [[lane]]" in problems(tmp_path, "lane = 1\n")["lane"][1]
    assert "an array of tables, [[lane]]" in problems(tmp_path, "[lane]\nname = 'x'\n")["lane"][1]


def test_a_mistake_in_a_device_is_not_reported_twice(tmp_path: Path) -> None:
    found = problems(tmp_path, changed('driver = "ipp"', 'driver = "iip"'))
    assert list(found) == ["device[1].driver"]


def test_one_port_serves_one_device(tmp_path: Path) -> None:
    text = changed("rfc2217://127.0.0.1:4001?baud=9600&format=7E1", "serial:/dev/pos/reader?baud=9600")
    assert "used by another device" in problems(tmp_path, text)["device[1].port"][1]


def test_a_key_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    file = write(tmp_path)
    (tmp_path / "mac.key").chmod(0o640)
    with pytest.raises(ConfigError, match="has mode 0640: others may read it; chmod 0600"):
        load(file, load_sample_profile)


def test_an_open_data_key_is_refused_and_a_missing_one_is_not(tmp_path: Path) -> None:
    file = write(tmp_path)
    load(file, load_sample_profile)
    key = tmp_path / "state/data.key"
    key.parent.mkdir()
    key.touch(0o644)
    with pytest.raises(ConfigError, match=r"keys\.data_key_file"):
        load(file, load_sample_profile)


def test_a_file_that_anybody_may_write_is_refused(tmp_path: Path) -> None:
    file = write(tmp_path)
    file.chmod(0o666)
    with pytest.raises(ConfigError, match="anybody may write"):
        load(file, load_sample_profile)


SECRET = "0123456789ABCDEF0123456789ABCDE"


def test_a_secret_is_not_repeated_in_an_error(tmp_path: Path) -> None:
    text = changed('mac = "software"', f'mac = "pinpad"\nmac_key = "{SECRET}"\npinpad = "pad"')
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, text)
    assert "lane[0].mac_key" in str(caught.value)
    assert SECRET[:6] not in str(caught.value)


def test_a_key_file_without_a_key_does_not_show_its_content(tmp_path: Path) -> None:
    file = write(tmp_path)
    (tmp_path / "mac.key").write_text(SECRET)
    with pytest.raises(ConfigError) as caught:
        load(file, load_sample_profile)
    assert "holds no key" in str(caught.value)
    assert SECRET[:6] not in str(caught.value)


def test_a_card_number_in_the_wrong_place_is_not_repeated(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, changed('"10000001"', '"6200000000000005"'))
    assert "<16 digits>" in str(caught.value)
    assert "000000005" not in str(caught.value)


def test_a_pinpad_cannot_compute_every_mac(tmp_path: Path) -> None:
    text = changed('mac = "software"', f'mac = "pinpad"\nmac_key = "{SECRET}0"\npinpad = "pad"')
    assert loaded(tmp_path, text).lanes[0].pinpad == "pad"
    found = problems(tmp_path, text.replace('"with-mac"', '"with-sm4"'))
    assert "cannot make the MAC" in found["lane[0].mac"][1]


@pytest.mark.parametrize(
    ("content", "words", "line"),
    [
        (b"[agent\n", "not TOML", 1),
        (b"a = 1\n\na = 2\n", "not TOML", 3),
        (b"# \xff\n", "not UTF-8 at byte 2", 0),
        (b"#" * (1 << 20) + b"\n", "larger than", 0),
    ],
)
def test_a_file_that_is_no_toml_says_where(tmp_path: Path, content: bytes, words: str, line: int) -> None:
    file = tmp_path / "reversald.toml"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=words) as caught:
        load(file)
    assert caught.value.problems[0].line == line


def test_a_file_with_windows_line_ends_has_the_same_lines(tmp_path: Path) -> None:
    text = changed('language = "zh"', 'langage = "zh"')
    file = write(tmp_path)
    file.write_bytes(text.replace("\n", "\r\n").encode())
    with pytest.raises(ConfigError) as caught:
        load(file, load_sample_profile)
    assert caught.value.problems[0].line == line_of(text, "langage")


def test_a_missing_file_is_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        load(tmp_path / "none.toml")


def test_a_relative_name_of_the_file_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert load("reversald.toml", load_sample_profile).agent.run_dir == tmp_path / "run"


def test_retry_rules_are_the_profiles_with_the_lanes_on_top(tmp_path: Path) -> None:
    config = loaded(tmp_path)
    assert retry_rules(config.lanes[0], RETRY).cap_s == 60.0
    assert retry_rules(config.lanes[0], RETRY).base_s == RETRY.base_s
    assert retry_rules(config.lanes[1], RETRY) == RETRY


def test_an_address_is_split_into_host_and_port() -> None:
    assert split_host("[2001:db8::1]:5000") == ("2001:db8::1", 5000)
    assert split_host("host.example:1") == ("host.example", 1)


def test_a_key_file_is_one_line_of_digits(tmp_path: Path) -> None:
    file = write(tmp_path).with_name("mac.key")
    assert read_key_file(file).raw().hex() == "0123456789abcdeffedcba9876543210"
    file.write_bytes(os.urandom(16))
    with pytest.raises(ValueError, match="holds no key"):
        read_key_file(file)


# --- what the data keys are wrapped under ---


def executable(directory: Path) -> Path:
    program = directory / "program"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    return program


def wrapping(*lines: str) -> str:
    return GOOD + "".join(f"\n[[keys.wrapping]]\n{line}\n" for line in lines)


def test_sources_of_every_kind_are_read_in_their_order(tmp_path: Path) -> None:
    program = executable(tmp_path)
    text = wrapping(f'program = ["{program}", "slot 3"]', 'credential = "data-kek"', 'key_file = "wrapping.key"')
    first, second, third = loaded(tmp_path, text).keys.wrappings
    assert (first.program, first.timeout_s) == ((str(program), "slot 3"), 5.0)
    assert second.credential == "data-kek"
    assert third.key_file == tmp_path / "state/wrapping.key"


def test_a_source_that_is_not_there_yet_is_no_error_of_the_configuration(tmp_path: Path) -> None:
    """It may come with its medium: the start says so, with a status that makes the service manager try again."""
    loaded(tmp_path, wrapping('program = ["/nonexistent/program"]', 'key_file = "/nonexistent/wrapping.key"'))


@pytest.mark.parametrize(
    ("line", "where", "wrong"),
    [
        ("timeout_s = 5", "keys.wrapping[0]", "names no source"),
        ('credential = "a"\nkey_file = "b"', "keys.wrapping[0]", "gives key_file and credential"),
        ('credential = "../shadow"', "keys.wrapping[0].credential", "not acceptable"),
        ('program = "/bin/true"', "keys.wrapping[0].program", "expected a list"),
        ('program = ["true"]', "keys.wrapping[0].program", "is not absolute"),
        ('program = ["/etc"]', "keys.wrapping[0].program", "cannot be executed"),
        ('program = ["/bin/true"]\ntimeout_s = 31', "keys.wrapping[0].timeout_s", "0.1 .. 30"),
        ('key_file = "data.key"', "keys.wrapping[0].key_file", "is the same file as keys.data_key_file"),
        ('file = "x"', "keys.wrapping[0].file", "unknown key"),
    ],
)
def test_a_source_that_cannot_be_meant_is_refused(tmp_path: Path, line: str, where: str, wrong: str) -> None:
    text = wrapping(line)
    found = problems(tmp_path, text)
    assert wrong in found[where][1]
    assert found[where][0] >= line_of(text, "[[keys.wrapping]]")


def test_a_program_or_wrapping_key_that_others_could_use_is_refused(tmp_path: Path) -> None:
    program, file = executable(tmp_path), tmp_path / "wrapping.key"
    file.write_text("x")
    text = wrapping(f'program = ["{program}"]', f'key_file = "{file}"')
    program.chmod(0o775)
    file.chmod(0o640)
    found = problems(tmp_path, text)
    assert "others may write to it" in found["keys.wrapping[0].program"][1]
    assert "others may read it" in found["keys.wrapping[1].key_file"][1]
