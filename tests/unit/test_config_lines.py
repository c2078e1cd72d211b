"""Every key of a TOML text is found on the line where a person sees it."""

from __future__ import annotations

import tomllib
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from agent.toml_lines import locate, parent

SAMPLE = """\
# a comment with [brackets] = "and quotes
top = "a # no comment"

[agent]
language = "zh"   # a comment
[agent.deep."quoted key"]
x.y = 1

[[lane]]
name = 'till-1'
hosts = [ # first
  "127.0.0.1:5000", # ] not the end
  "[::1]:5001",
]
[lane.tls]
ca_file = \"\"\"
multi ] [ = \\\"\" line
\"\"\"
[[lane]]
name = "till-2"
tls = { ca_file = "a", nested = { deep = [1, 2] } }
while = {count = 1}
[[lane.extra]]
k = '''
x''''
"""


def test_each_key_stands_on_its_own_line() -> None:
    lines = locate(SAMPLE)
    expected = {
        "top": 2,
        "agent": 4,
        "agent.language": 5,
        "agent.deep.quoted key": 6,
        "agent.deep.quoted key.x.y": 7,
        "lane": 9,
        "lane[0]": 9,
        "lane[0].name": 10,
        "lane[0].hosts": 11,
        "lane[0].hosts[0]": 12,
        "lane[0].hosts[1]": 13,
        "lane[0].tls": 15,
        "lane[0].tls.ca_file": 16,
        "lane[1]": 19,
        "lane[1].tls.ca_file": 21,
        "lane[1].tls.nested.deep[1]": 21,
        "lane[1].while.count": 22,
        "lane[1].extra[0].k": 24,
    }
    assert {path: lines.get(path) for path in expected} == expected


def test_the_parent_of_a_path_is_one_step_up() -> None:
    steps = ["lane[1].hosts[0]"]
    while steps[-1]:
        steps.append(parent(steps[-1]))
    assert steps == ["lane[1].hosts[0]", "lane[1].hosts", "lane[1]", "lane", ""]


SCALARS = st.one_of(
    st.integers(-9, 9).map(str),
    st.booleans().map(lambda value: str(value).lower()),
    st.text('ab #[]{}=,"', max_size=6).map(lambda text: "'" + text + "'"),
    st.text("ab #[]{}=,'", max_size=6).map(lambda text: '"' + text + '"'),
    st.text("ab\n#[]{}=,'", max_size=8).map(lambda text: '"""' + text + '"""'),
    st.just("1979-05-27T07:32:00Z"),
)
KEY = st.sampled_from(["a", "b", '"c d"', "'e#'"])
ARRAYS = st.lists(SCALARS, max_size=3).map(lambda items: "[ # why ]\n" + ",\n".join(items) + "\n]")
INLINE = st.dictionaries(KEY, SCALARS.filter(lambda text: "\n" not in text), max_size=3).map(
    lambda table: "{" + ", ".join(f"{key} = {value}" for key, value in table.items()) + "}"
)
BODY = st.dictionaries(KEY, st.one_of(SCALARS, ARRAYS, INLINE), max_size=3).map(
    lambda table: "".join(f"{key} = {value} # ['\"\n" for key, value in table.items())
)


@given(st.lists(BODY, min_size=1, max_size=4))
def test_no_key_that_tomllib_sees_is_without_a_line(bodies: list[str]) -> None:
    text = "".join(f"[[t]]\n{body}" for body in bodies)
    lines = locate(text)
    paths = list(_paths(tomllib.loads(text), ""))
    assert set(paths) == set(lines)
    assert all(1 <= lines[path] <= text.count("\n") for path in paths)


def _paths(value: Any, path: str) -> Any:
    if path:
        yield path
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _paths(item, f"{path}.{name}" if path else name)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _paths(item, f"{path}[{index}]")
