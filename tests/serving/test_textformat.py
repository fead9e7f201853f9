from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nip_runtime.operate.triton.textformat import Message, TextFormatError, Word, parse, quoted


@given(st.text())
def test_a_quoted_string_comes_back(text: str) -> None:
    written = quoted(text.encode("utf-8", "ignore").decode())
    assert "\n" not in written
    assert parse(f"a: {written}").one("a") == text.encode("utf-8", "ignore").decode()


@given(st.text(alphabet="ab:{}[]<>,;\"'\\\n#01.-xe ", max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        assert isinstance(parse(text), Message)
    except TextFormatError as error:
        assert "\n" not in str(error)


@given(st.integers(-(1 << 63), (1 << 64) - 1))
def test_whole_numbers_come_back(value: int) -> None:
    assert parse(f"a: {value} b: {hex(value)}").one("a") == value
    assert parse(f"a: {value} b: {hex(value)}").one("b") == value


def test_all_forms_of_a_field() -> None:
    read = parse('a: 1, a: [2, 3]; b { c: TRUE } b: <c: "x" "y"> b: [{ }, { c: 1.5e3f }] # end')
    assert read.all("a") == [1, 2, 3]
    assert [inner.one("c") for inner in read.messages("b")] == [Word("TRUE"), "xy", None, 1500.0]
    assert isinstance(read.messages("b")[0].one("c"), Word)
    assert read.names() == {"a", "b"}


@pytest.mark.parametrize(
    ("text", "value"),
    [(r"\n\t\"\'\\", "\n\t\"'\\"), (r"\x41\101", "AA"), (r"\303\244", "ä"), (r"\u00e4\U0001F600", "ä😀")],
)
def test_escapes(text: str, value: str) -> None:
    assert parse(f'a: "{text}"').one("a") == value


@pytest.mark.parametrize(
    "text",
    [
        "a", "a:", "a: }", "}", "a {", "a { b: 1", "a: [1 2]", "a: [1,", ": 1", "a: 1 2", 'a: "\\ud800"',
        'a: "\\377"', "a: 1.2.3", "a: 0x", "a: 09", "a: $", "[a.b]: 1",
        "a { " * 40 + "}" * 40, "a: " + "9" * 5000,
    ],
)  # fmt: skip
def test_what_is_no_text_format_is_refused(text: str) -> None:
    with pytest.raises(TextFormatError):
        parse(text)


def test_an_error_names_its_line() -> None:
    with pytest.raises(TextFormatError, match=r"^line 3: expected : or \{, got 'end'$"):
        parse("# one\na: 1\nb end")
