"""Frozen classes made the fast way are what the standard decorator makes."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from collections.abc import Callable
from dataclasses import field
from typing import Any

import pytest

from protocol import frozen


def make(dataclass: Any, **options: Any) -> Any:
    """The same class by either decorator."""

    @dataclass(frozen=True, **options)
    class Shown:
        """A class of every kind of field."""

        name: str
        size: int = 3
        parts: list[str] = field(default_factory=list)
        hidden: str = field(default="", repr=False)
        beside: float = field(default=0.0, compare=False)

        @property
        def double(self) -> int:
            return 2 * self.size

    return Shown


OPTIONS: tuple[dict[str, Any], ...] = ({}, {"slots": True}, {"kw_only": True}, {"slots": True, "kw_only": True})


@pytest.fixture(params=OPTIONS, ids=str)
def both(request: pytest.FixtureRequest) -> tuple[Any, Any]:
    """(standard, ours)"""
    return make(dataclasses.dataclass, **request.param), make(frozen.dataclass, **request.param)


LOOKS: tuple[Callable[[Any], object], ...] = (
    lambda cls: repr(cls(name="a", size=1, hidden="x")).rpartition(".")[2],
    lambda cls: [f.name for f in dataclasses.fields(cls)],
    lambda cls: dataclasses.asdict(cls(name="a")),
    lambda cls: dataclasses.replace(cls(name="a"), size=9).size,
    lambda cls: cls(name="a") == cls(name="a", beside=1.0),
    lambda cls: cls(name="a") == cls(name="b"),
    lambda cls: cls(name="a") == ("a", 3),
    lambda cls: cls(name="a").parts is cls(name="a").parts,
    lambda cls: cls(name="a").double,
    lambda cls: cls.__match_args__,
    lambda cls: hasattr(cls(name="a"), "__dict__"),
    lambda cls: dataclasses.asdict(copy.copy(cls(name="a", size=4))),
    lambda cls: dataclasses.asdict(copy.deepcopy(cls(name="a", parts=["b"]))),
)
REFUSED: tuple[Callable[[Any], object], ...] = (
    lambda cls: cls(),
    lambda cls: cls(name="a", colour="red"),
    lambda cls: setattr(cls(name="a"), "name", "b"),
    lambda cls: delattr(cls(name="a"), "name"),
    lambda cls: hash(cls(name="a")),  # a list is in it
)


@pytest.mark.parametrize("look", LOOKS)
def test_a_frozen_class_looks_like_a_standard_one(both: tuple[Any, Any], look: Callable[[Any], object]) -> None:
    standard, ours = both
    assert look(ours) == look(standard)


@pytest.mark.parametrize("act", REFUSED)
def test_a_frozen_class_refuses_what_a_standard_one_refuses(
    both: tuple[Any, Any], act: Callable[[Any], object]
) -> None:
    kinds = []
    for cls in both:
        with pytest.raises((TypeError, AttributeError)) as caught:
            act(cls)
        kinds.append(caught.type)
    assert kinds[0] is kinds[1]


@frozen.dataclass(frozen=True, slots=True)
class Pair:
    """Hashable, and found by pickle."""

    left: str
    right: int = 0


def test_equal_objects_are_one_key_and_survive_pickling() -> None:
    assert {Pair("a", 1): "x"}[Pair("a", 1)] == "x"
    assert pickle.loads(pickle.dumps(Pair("a", 1))) == Pair("a", 1)
    with pytest.raises(TypeError, match=r"Pair\.__init__"):
        Pair()  # type: ignore[call-arg]


def test_nothing_can_be_added_to_it() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):  # the standard one stumbles over itself (TypeError) with slots
        Pair("a").colour = "red"  # type: ignore[attr-defined]


def test_an_own_repr_and_no_repr_stay() -> None:
    @frozen.dataclass(frozen=True)
    class Told:
        name: str

        def __repr__(self) -> str:
            return "told"

    @frozen.dataclass(frozen=True, slots=True, repr=False)
    class Silent:
        name: str

    assert repr(Told("a")) == "told"
    assert "object at" in repr(Silent("a"))


def make_mutable(dataclass: Any, **options: Any) -> Any:
    """The same class by either decorator."""

    @dataclass(**options)
    class Book:
        """Fields that are given, fields that are made, and one that only `__post_init__` knows."""

        name: str
        pages: list[str] = field(default_factory=list)
        notes: list[str] = field(init=False, default_factory=list)
        count: int = field(init=False, default=7)
        length: int = field(init=False)

        def __post_init__(self) -> None:
            self.length = len(self.name)

    return Book


@pytest.mark.parametrize("options", [{}, {"slots": True}], ids=str)
def test_a_mutable_class_is_what_the_standard_decorator_makes(options: dict[str, Any]) -> None:
    told = []
    for decorator in (dataclasses.dataclass, frozen.dataclass):
        cls = make_mutable(decorator, **options)
        book, other = cls("abc", pages=["1"]), cls("abc", ["1"])
        same = book == other
        book.name = "changed"
        told.append((dataclasses.asdict(book), same, book == other, cls.__hash__, book.notes is other.notes))
        with pytest.raises(TypeError):
            cls("abc", count=8)
    assert told[0] == told[1]


def test_a_frozen_class_checks_itself_after_it_is_made() -> None:
    @frozen.dataclass(frozen=True)
    class Checked:
        size: int

        def __post_init__(self) -> None:
            assert self.size, "no size"

    with pytest.raises(AssertionError, match="no size"):
        Checked(0)
    assert Checked(2).size == 2


def test_what_it_does_not_know_goes_to_the_standard_decorator() -> None:
    @frozen.dataclass(frozen=True, order=True)
    class Ordered:
        size: int

    @frozen.dataclass
    class Bare:
        size: int = 1

    @frozen.dataclass(slots=True)
    class Helped:
        size: int
        given: dataclasses.InitVar[int] = 4

        def __post_init__(self, given: int) -> None:
            self.size += given

    assert (Ordered(1) < Ordered(2), Bare().size, Helped(1).size) == (True, 1, 5)
