"""Profiles are read strictly: whatever is wrong is named with file, line and key."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from protocol import profile
from protocol.errors import ProfileError
from protocol.profile import check_profile, load_profile, profile_names
from protocol.rules import Verdict
from protocol.tables import line_of
from protocol.templates import Slice, parse_slice, parse_template
from tests.unit.protocol_samples import PROFILES, TEST_PROFILES, shipped

Write = Callable[[str], str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a profile that extends unionpay-pos and gives its path."""

    def written(text: str) -> str:
        path = tmp_path / "bank.toml"
        path.write_text('extends = "unionpay-pos"\n' + text, "utf-8")
        return str(path)

    return written


def test_every_profile_that_comes_with_the_program_is_sound() -> None:
    assert {"unionpay-pos", "unionpay-x919", "iso87-ascii", "nac-edc", "iso93", "as2805-like"} <= set(profile_names())
    for name in PROFILES:
        assert check_profile(name) == []
        assert shipped(name).name == name
        assert repr(shipped(name)) == f"Profile({name})"


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("[envelope]\nlength_byte = 2\n", 3, "key envelope.length_byte: unknown key"),
        ("colour = 'blue'\n", 2, "key colour: unknown key"),
        ("[retry]\nbase_s = 'soon'\n", 3, "key retry.base_s: must be a number"),
        ("[retry]\nbase_s = 0\n", 3, "must be between 0.1"),
        ("[retry]\npark_after_attempts = true\n", 3, "must be a whole number"),
        ("[retry]\npersistent_connection = 1\n", 3, "must be true or false"),
        ("[retry]\ntriggers = ['moon', 'timer', 'command']\n", 3, "'moon' is none of"),
        ("[retry]\ntriggers = 'timer'\n", 3, "must be a list of strings"),
        ("[reversal]\nkeep = [2, 2]\n", 3, "same value twice"),
        ("[reversal]\nkeep = ['2']\n", 3, "must be a list of whole numbers"),
        ("[reversal]\nkeep = [2, 99]\n", 3, "99 is not an element"),
        ("[reversal]\nkeep = [2, 35]\n", 3, "35 (track 2 data) must never be stored"),
        ("[reversal]\nkeep = [2, 55]\n", 3, "never copied"),
        ("[reversal]\nchip_tags = ['95', '57']\n", 3, "tag 57 must never be stored"),
        ("[reversal]\nstamp_field = 7\n", 3, "7 is not an element"),
        ("[reversal.types]\n0200 = '0200'\n", 3, "reversal's type"),
        ("[reversal.reasons]\ncustomer = '6'\n", 3, "'6' does not fit element 39"),
        ("[reversal.reasons]\nmac = '9 '\n", 3, "not made of letters and digits"),
        ("[reversal]\nreason_after_refusal = '006'\n", 3, "'006' does not fit element 39"),
        ("[reversal.elements]\n52 = '00'\n", 3, "PIN block must never be stored"),
        ("[reversal.elements]\n62 = '{f35}'\n", 3, "facts that there are not: f35"),
        ("[reversal.elements]\n62 = '{f55}'\n", 3, "facts that there are not: f55"),
        ("[kinds.void.reversal]\n36 = 'x'\n", 3, "track 3 data must never be stored"),
        ("[kinds.void]\non_unknown = 'ignore'\n", 3, "must be one of reverse, none, park"),
        ("[kinds.void]\nmti = '02'\n", 3, "must be a message type"),
        ("[kinds.cash]\nmti = '0200'\n", 2, "missing key"),
        (
            "[kinds.cash]\nmti = '0200'\nprocessing_code = '000000'\ntransaction_type = '22'\non_unknown = 'none'\n",
            2,
            "cannot be told from sale",
        ),
        ("[elements]\n1 = 'b8'\n", 3, "must be the number of an element"),
        ("[elements]\n65 = 'b8'\n", 3, "must be the number of an element"),
        ("[elements]\n33 = 'n..100'\n", 3, "must be a format"),
        ("[elements]\n33 = { format = 'n..11', colour = 'red' }\n", 3, "unknown key"),
        ("[elements]\n33 = { format = 'n..11', coding = 'hex' }\n", 3, "must be one of bcd, ascii"),
        ("[elements]\n33 = 11\n", 3, "must be a string"),
        ("[message]\npad = 'G'\n", 3, "one hexadecimal digit"),
        ("[message]\nmti = 'utf-8'\n", 3, "must be one of bcd, ascii"),
        ("[envelope]\nlength_bytes = 0\n", 3, "needs a length"),
        ("[envelope]\nrequirement_nibble = 12\n", 3, "outside the header"),
        ("[envelope]\ntpdu = '6000'\n", 3, "10 hexadecimal digits"),
        ("[request.elements]\n62 = '{colour}'\n", 3, "colour"),
        ("[request.elements]\n62 = '{colour'\n", 3, "is not a template"),
        ("[request.elements]\n99 = '{stan}'\n", 3, "is not an element"),
        ("[request]\ntype_at = '60:3'\n", 3, "is not an element of this profile or positions"),
        ("[mac]\nfield = 63\n", 3, "64, 128 or 0"),
        ("[mac]\nfield = 0\n", 3, "needs a field"),
        ("[mac]\nalgorithm = 'md5'\n", 3, "must be one of"),
        ("[mac]\nfield = 128\n", 3, "element 128"),
        ("[script_result]\nmti = '0200'\n", 3, "a notice's type"),
        ("[script_result]\ntries = 0\n", 3, "must be between 1 and 10"),
        ("[script_result]\nchip_field = 99\n", 3, "99 is not an element"),
        ("[script_result]\nchip_tags = ['95', '57', 'DF31']\n", 3, "tag 57 must never be stored in a notice"),
        ("[script_result]\nchip_tags = ['95']\n", 3, "must hold the result_tag"),
        ("[script_result]\nresult_tag = 'XY'\n", 3, "a tag of chip data"),
        ("[script_result.elements]\n35 = 'x'\n", 2, "element 35 must never be stored in a notice"),
        ("[script_result.elements]\n62 = '{f35}'\n", 3, "facts that there are not: f35"),
        ("[script_result]\ncolour = 'red'\n", 3, "unknown key"),
        ("[batch_upload]\nkinds = ['sale', 'cash']\n", 3, "'cash' is none of"),
        ("[batch_upload]\nper_message = 9\n", 3, "must be between 0 and 8"),
        ("[responses]\nalarm = ['00']\n", 3, "code 00 ends the reversal"),
        ("[retry]\ntriggers = ['timer']\n", 3, "must hold command"),
        ("[mac]\noptional_on = ['25', '00']\n", 3, "code 00 approves"),
        ("[mac]\noptional_on = '25'\n", 3, "must be a list of strings"),
        ("[session]\nkey_codes = ['A0', '77']\n", 3, "code 77 has two meanings"),
        ("[session]\nbatch_codes = 77\n", 3, "must be a list of strings"),
        ("[responses]\ndone = ['00', '96']\n", 0, "code 96 has two meanings"),
        ("[responses]\nunsure = ['68', '00']\n", 3, "code 00 has two meanings"),
        ("[responses]\ncatalogue = 'nowhere'\n", 0, "no profile is called 'nowhere'"),
        ("[responses.texts]\n'00' = { en = 'fine' }\n", 3, "missing key"),
        ("[matching]\ncore = ['11', '41']\n", 3, "must hold 4"),
        ("[matching]\nmay_be_absent = ['11']\n", 3, "other than 11"),
        ("[matching]\nechoed = ['62']\n", 3, "could hold secrets"),
        ("[session]\nbatch_at = '99'\n", 3, "'99' is not an element"),
        ("[session.requirements]\n12 = 'sign-on'\n", 3, "one hexadecimal digit"),
        ("[session.requirements]\n9 = 'dance'\n", 3, "must be one of"),
    ],
)
def test_what_is_wrong_is_named_with_file_line_and_key(write: Write, text: str, line: int, reason: str) -> None:
    path = write(text)
    with pytest.raises(ProfileError) as caught:
        load_profile(path)
    assert reason in caught.value.text
    if line:
        assert f"bank.toml:{line}, key " in caught.value.where
    told = [str(error) for error in check_profile(path)]
    assert told[0] == str(caught.value)
    assert len(told) == (2 if "cash" in text and line == 2 and "missing" in reason else 1)  # no error leads to another


def test_a_check_gives_every_error_also_several_of_one_section_and_of_one_key(write: Write) -> None:
    path = write(
        "colour = 1\n[retry]\nbase_s = 'x'\nfactor = 99\nsoon = true\ntriggers = ['moon', 'sun', 'timer', 'command']\n"
        "[mac]\nfield = 63\nalgorithm = 'rot13'\n[envelope]\nlength_max = 0\n[reversal]\nkeep = [2, 35, 36, 99]\n"
        "[kinds.sale]\nmti = 'x'\non_unknown = 'y'\n[elements]\n33 = 'n..100'\n34 = 7\n200 = 'n2'\n"
        "[session.requirements]\n12 = 'sign-on'\n9 = 'dance'\n"
    )
    found = [error.where.partition(" key ")[2] for error in check_profile(path)]
    assert sorted(found) == [
        *("colour", "elements.200", "elements.33", "elements.34", "envelope.length_max", "kinds.sale.mti"),
        *("kinds.sale.on_unknown", "mac.algorithm", "mac.field", "retry.base_s", "retry.factor", "retry.soon"),
        *("retry.triggers", "retry.triggers", "reversal.keep", "reversal.keep", "reversal.keep"),
        *("session.requirements.12", "session.requirements.9"),
    ]


def test_a_check_of_damaged_values_never_ends_early(write: Write) -> None:
    """Every key in turn is given a value of another type: that key is named, nothing breaks."""
    shipped_text = (Path(profile.__file__).with_name("profiles") / "unionpay-pos.toml").read_text("utf-8")
    for path, value in _leaves(tomllib.loads(shipped_text)):
        if path[0] == "extends":
            continue
        wrong = "'soon'" if not isinstance(value, str) else "{ a = 1 }" if path[0] != "elements" else "1.5"
        table = "".join(f"[{'.'.join(path[:-1])}]\n" if path[:-1] else "")
        places = [error.where for error in check_profile(write(f"{table}{path[-1]} = {wrong}\n"))]
        assert any(f"key {'.'.join(path)}" in place for place in places), (path, places)


def _leaves(table: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _leaves(value, (*path, key))
        else:
            yield (*path, key), value


def test_a_profile_that_wants_a_sign_on_must_say_how(tmp_path: Path) -> None:
    text = (Path(profile.__file__).with_name("profiles") / "iso87-ascii.toml").read_text("utf-8")
    text = text.replace("sign_on_required = false", "sign_on_required = true")
    path = tmp_path / "bank.toml"
    path.write_text(text, "utf-8")
    assert load_profile(str(path)).session.sign_on_required
    path.write_text(text.replace("messages.sign-on", "messages.logon"), "utf-8")
    with pytest.raises(ProfileError, match=r"needs \[session.messages.sign-on\]"):
        load_profile(str(path))


def test_of_a_profile_that_ends_early_each_lacking_table_is_one_error(tmp_path: Path) -> None:
    path = tmp_path / "lonely.toml"
    path.write_text("title = 'x'\n[message]\n", "utf-8")
    errors = check_profile(str(path))
    named = [error.where.partition(", key ")[2] for error in errors]
    assert all("missing key" in error.text for error in errors)
    assert {"elements", "message.mti", "envelope", "kinds", "retry", "confirm"} <= set(named)
    assert not [name for name in named if name.startswith(("kinds.", "retry."))]  # a lacking table is one error


def test_a_profile_is_found_in_the_callers_directories_first(tmp_path: Path) -> None:
    (tmp_path / "unionpay-pos.toml").write_text('extends = "iso87-ascii"\ntitle = "mine"\n', "utf-8")
    assert load_profile("unionpay-pos", [tmp_path]).title == "mine"
    assert load_profile("iso93-epoc", [str(TEST_PROFILES)]).name == "iso93-epoc"


def test_files_that_are_no_profiles_are_told(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text("title = \n", "utf-8")
    (tmp_path / "b.toml").write_text('extends = "b"\n', "utf-8")
    (tmp_path / "c.toml").write_text("extends = 1\n", "utf-8")
    (tmp_path / "d.toml").write_bytes(b"\xff")
    (tmp_path / "e.toml").write_text('extends = "nobody"\n', "utf-8")
    for name, reason in (
        ("a", "is not TOML"),
        ("b", "circle"),
        ("c", "must be a string"),
        ("d", "cannot be read"),
        ("e", "no profile is called 'nobody'"),
        ("nobody", "known: as2805-like"),
    ):
        with pytest.raises(ProfileError, match=reason):
            load_profile(name, [tmp_path])
        assert len(check_profile(name, [tmp_path])) == 1
    with pytest.raises(ProfileError, match="cannot be read"):
        load_profile(str(tmp_path / "gone.toml"))


@pytest.mark.parametrize(
    ("name", "code", "verdict"),
    [
        ("unionpay-pos", "00", "done"),
        ("unionpay-pos", "12", "overtaken"),
        ("unionpay-pos", "25", "overtaken"),
        ("unionpay-pos", "A0", "retry"),
        ("unionpay-pos", "77", "later"),
        ("unionpay-pos", "03", "park"),
        ("unionpay-pos", "ZZ", "retry"),
        ("unionpay-pos", "", "retry"),
        ("nac-edc", "25", "park"),
        ("nac-edc", "12", "park"),
        ("iso87-ascii", "12", "overtaken"),
        ("iso87-ascii", "21", "overtaken"),
        ("iso93", "400", "done"),
        ("iso93", "480", "done"),
        ("iso93", "000", "retry"),
    ],
)
def test_an_unknown_code_is_never_done(name: str, code: str, verdict: Verdict) -> None:
    assert shipped(name).responses.reversal(code) == verdict


def test_codes_have_a_meaning_for_requests_and_a_text_in_both_languages() -> None:
    responses = shipped("unionpay-pos").responses
    assert responses.request("00") == "approved"
    assert responses.request("51") == "declined"
    assert responses.request("ZZ") == "declined"
    assert responses.text("51") == "insufficient funds"
    assert responses.text("51", "zh") == "可用余额不足"
    assert responses.text("ZZ") == "unknown response code"
    assert responses.text("ZZ", "zh") == "未知应答码"
    assert shipped("iso93").responses.text("480") == "reversal accepted, nothing to reverse"


@pytest.mark.parametrize("name", PROFILES)
def test_every_code_with_a_verdict_has_a_text(name: str) -> None:
    responses = shipped(name).responses
    for code in (*responses.verdicts, *responses.approved):
        assert responses.text(code) != "unknown response code", code


def test_an_inherited_element_can_be_taken_out() -> None:
    codec = shipped("iso93").codec
    assert 13 not in codec.packings
    assert 90 not in codec.packings


def test_lines_of_keys_are_found_in_any_writing() -> None:
    text = "a = 1\n[b]\n'c d' = 2\n[b.'e']\nf.g = 3\n"
    assert line_of(text, ["a"]) == 1
    assert line_of(text, ["b", "c d"]) == 3
    assert line_of(text, ["b", "e"]) == 4
    assert line_of(text, ["b", "e", "f", "g"]) == 5
    assert line_of(text, ["z"]) == 0


@pytest.mark.parametrize(
    ("template", "facts", "value"),
    [
        ("{a}{b}", {"a": "1", "b": "2"}, "12"),
        ("{a}{b}", {"a": "1"}, None),
        ("x{a|0000}", {}, "x0000"),
        ("{a>6}", {"a": "12"}, "000012"),
        ("{a:2-3}", {"a": "1234"}, "23"),
        ("{a:2-3}", {"a": "12"}, None),
        ("{a?12}", {"a": "secret"}, "12"),
        ("{a?12}", {}, None),
        ("", {}, ""),
    ],
)
def test_a_template_is_filled_from_facts(template: str, facts: dict[str, str], value: str | None) -> None:
    parsed = parse_template(template)
    assert parsed is not None
    assert parsed.fill(facts) == value


def test_positions_count_from_one() -> None:
    assert parse_slice("60:3-8") == Slice(60, 2, 8)
    assert str(Slice(60, 2, 8)) == "60:3-8"
    assert str(Slice(60)) == "60"
    for text in ("", "x", "60:", "60:8-3", "60:0-3"):
        assert parse_slice(text) is None


def test_codes_that_ask_for_a_sign_on_and_codes_that_need_no_mac_are_the_profiles(write: Write) -> None:
    shipped_one = shipped("unionpay-pos")
    assert (shipped_one.session.batch_codes, shipped_one.session.key_codes) == ({"77"}, {"A0", "99"})
    assert all(not shipped(name).mac.optional_on for name in profile_names())  # strict unless somebody says otherwise
    ours = load_profile(write("[mac]\noptional_on = ['25']\n[session]\nbatch_codes = ['78']\nkey_codes = []\n"))
    assert (ours.mac.optional_on, ours.session.batch_codes, ours.session.key_codes) == ({"25"}, {"78"}, frozenset())


def test_a_host_that_wants_no_notices_says_so_with_an_empty_type(write: Write) -> None:
    assert load_profile(write("[script_result]\nmti = ''\n[batch_upload]\nper_message = 0\n")).script_result is None
    assert load_profile(write("[batch_upload]\nper_message = 0\n")).batch_upload is None


def test_an_upload_needs_its_two_messages(tmp_path: Path) -> None:
    shipped_text = (Path(profile.__file__).with_name("profiles") / "iso87-ascii.toml").read_text("utf-8")
    path = tmp_path / "bank.toml"
    section = "\n[batch_upload]\nper_message = 8\nkinds = ['sale']\nleave_entry_modes = []\n"
    path.write_text(shipped_text + section, "utf-8")
    reasons = [error.text.partition(": ")[2] for error in check_profile(str(path))]
    assert reasons == ["needs [session.messages.upload]", "needs [session.messages.upload-end]"]
