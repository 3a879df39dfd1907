"""What no sweep file may hold, whatever it is about."""

from __future__ import annotations

import pytest

from gradatlas.sweeps.errors import SpecError
from gradatlas.sweeps.spec.document import LARGEST_SPEC, parsed_toml, reject_unfit, spec_text


def test_text_is_read_with_a_byte_order_mark_and_lines_of_windows(tmp_path):
    (tmp_path / "a.toml").write_bytes('\ufeffquestion = "ü"\r\n'.encode())
    assert parsed_toml(spec_text(tmp_path / "a.toml"), "a.toml") == {"question": "ü"}


def test_a_file_of_the_largest_size_is_read_and_a_byte_more_is_not(tmp_path):
    (tmp_path / "a.toml").write_bytes(b"#" * LARGEST_SPEC)
    assert len(spec_text(tmp_path / "a.toml")) == LARGEST_SPEC
    (tmp_path / "a.toml").write_bytes(b"#" * (LARGEST_SPEC + 1))
    with pytest.raises(SpecError, match=r"a\.toml: must have at most 262144 bytes, but has 262145"):
        spec_text(tmp_path / "a.toml")


@pytest.mark.parametrize("name", ["a", "'a'", '"a"', "a ", "' '\t"])
def test_a_key_of_very_many_names_is_told_before_it_is_parsed(name):
    with pytest.raises(SpecError, match="keys must have at most 16 names"):
        parsed_toml(".".join([name] * 50_000) + " = 1", "s")


def test_dots_in_texts_and_numbers_are_no_names():
    numbers = ", ".join(["0.5"] * 1000)
    text = f'question = "{"." * 1000} {"Why so. " * 200}"\nlist = [{numbers}]'
    assert len(parsed_toml(text, "s")["list"]) == 1000


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"search": {"points": 16**5000}}, r"s: search\.points: must have at most 4096 bits, but has 20001"),
        ({"search": {"options": {"a": [[-(2**5000)]]}}}, r"s: search\.options\.a: must have at most"),
        ({"storage": {"runs": "a\0b"}}, r"s: storage\.runs: must hold printable characters alone"),
        ({"storage": {"a\nb": 1}}, r"s: storage: must hold printable characters alone"),
        ({"fixed": {"task": "a" * 5000}}, r"s: fixed\.task: must have at most 4096 characters"),
    ],
)
def test_what_no_key_may_hold_is_told_by_its_name(document, message):
    with pytest.raises(SpecError, match=message):
        reject_unfit(document, "s")


def test_nesting_is_bounded():
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(SpecError, match=r"s: search\.a: must be nested at most 16 deep"):
        reject_unfit({"search": {"a": deep}}, "s")


def test_a_question_may_have_lines():
    reject_unfit({"question": "What?\n\tAnd why?"}, "s")
