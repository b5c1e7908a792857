from pathlib import Path

import numpy as np
import pytest

from jaxrnn.writer.answers import Answer, answer_to
from jaxrnn.writer.session import Suggestion
from jaxrnn.writer.text_file import TextFile, free_name
from jaxrnn.writer.writing import Writing
from tests.writer.small import SYMBOLS, session


class Typed(Writing):
    """A text whose model answers as soon as it is asked, unless it is held up."""

    def __init__(self, tmp_path: Path, **options):
        self.codes: list[int] = []
        super().__init__(session().known, TextFile(tmp_path / "written.txt"), self.codes.append, **options)
        self.answer()

    def answer(self) -> None:
        answer = answer_to(session(), self.request, lambda: False)
        assert answer is not None
        self.take(answer)

    def keys(self, *keys: str, answers: bool = True) -> None:
        for key in keys:
            self.press(key, " " if key == "space" else key if len(key) == 1 else None)
            if answers:
                self.answer()


@pytest.fixture
def typed(tmp_path) -> Typed:
    return Typed(tmp_path)


KEYS = [
    *"hel",
    "tab",
    "right",
    "right",
    "up",
    "tab",
    "space",
    *"den",
    "backspace",
    "right",
    "tab",
    "down",
    *"abc",
    "tab",
]


def test_the_same_keys_write_the_same_however_late_the_answers_come(tmp_path):
    """Tab accepts what is shown, so there alone an answer is waited for."""
    prompt, late = Typed(tmp_path), Typed(tmp_path)
    prompt.keys(*KEYS)
    for key in KEYS:
        if key == "tab":
            late.answer()
        late.keys(key, answers=False)
    late.answer()
    assert (prompt.text, prompt.suggestion, prompt.request) == (late.text, late.suggestion, late.request)
    assert len(prompt.text) > 10


def test_right_shows_another_suggestion_each_time(typed):
    typed.keys("h")
    shown = [typed.suggestion]
    for _ in range(6):
        typed.keys("right")
        assert typed.suggestion != shown[-1]
        shown.append(typed.suggestion)
    typed.keys(*["down"] * 10)
    assert typed.temperature == 0.0
    typed.keys("right")
    assert "at temperature 0 there is one" in typed.note


def test_what_is_left_of_a_suggestion_stays_shown_while_it_is_typed(typed):
    typed.suggestion = "ello"
    typed.keys("e", answers=False)
    assert typed.suggestion == "llo"
    typed.keys("b", answers=False)
    assert typed.suggestion == ""
    typed.keys("tab", answers=False)
    assert typed.text == "eb"


@pytest.mark.parametrize("erase_all", [False, True])
def test_backspace_goes_back_to_the_last_accepted_suggestion(tmp_path, erase_all):
    typed = Typed(tmp_path, text="ab", erase_all=erase_all)
    typed.keys("backspace", "backspace", "backspace")
    assert typed.text == "" and not typed.note
    typed.keys("h", "tab")
    accepted = typed.text
    typed.keys("e", "backspace", "backspace")
    assert typed.text == (accepted[:-1] if erase_all else accepted)
    assert ("--erase-all" in typed.note) is not erase_all


def test_the_temperature_has_bounds_and_moves_by_tenths(typed):
    typed.keys("up", "down", "down", "down")
    assert typed.temperature == 0.8 == typed.request.temperature
    typed.keys(*["down"] * 12, answers=False)
    assert typed.temperature == 0.0
    typed.keys(*["up"] * 60, answers=False)
    assert typed.temperature == 5.0


def test_a_digit_accepts_from_the_list_and_is_typed_without_it(typed):
    typed.keys("h", "ctrl+n")
    assert len(typed.listed) > 2 and typed.listed[0].text == typed.suggestion
    assert [s.probability for s in typed.listed[1:]] == sorted((s.probability for s in typed.listed[1:]), reverse=True)
    second = typed.listed[1].text
    typed.keys("2")
    assert typed.text == "h" + second and typed.listed is None
    typed.keys("2", "ctrl+n", "escape", "3", "ctrl+n", "ctrl+n", "4")
    assert typed.text == "h" + second + "234"


def test_pasted_text_has_its_line_ends_made_one_and_nothing_is_lost(typed):
    typed.paste("he\r\nl\rlo\n\tden\x1b[2J\ud800")
    assert typed.text == "he\nl\nlo\n\tden\x1b[2J?"
    assert "\x1b" not in typed.note and "U+0009" in typed.note


def test_a_note_tells_of_unknown_characters(typed):
    typed.keys("h", "é", "e")
    assert typed.text == "hée" and "é U+00E9" in typed.note


def saved(typed: Typed) -> str:
    return typed.file.path.read_text("utf-8")


def test_the_text_is_saved_and_an_own_file_is_written_over_without_a_question(typed):
    typed.keys("h", "é", "ctrl+s")
    assert saved(typed) == "hé" and "saved in" in typed.note
    typed.keys("n", "ctrl+s", "ctrl+e")
    assert saved(typed) == "hén" and typed.codes == [0]


@pytest.mark.parametrize(("key", "left"), [("y", "he"), ("n", "theirs"), ("escape", "theirs")])
def test_a_file_of_somebody_else_is_asked_about(typed, key, left):
    typed.keys("h", "e", "ctrl+s")
    typed.file.path.unlink()
    typed.file.path.write_text("theirs", "utf-8")
    typed.keys("ctrl+s", "x")
    assert "Write over it?" in typed.note and typed.text == "he" and saved(typed) == "theirs"
    typed.keys(key)
    assert saved(typed) == left
    typed.keys("l")
    assert typed.text == "hel"


@pytest.mark.parametrize(("key", "left", "codes"), [("y", "he", [0]), ("n", None, [0]), ("escape", None, [])])
def test_leaving_asks_for_what_is_not_saved(typed, key, left, codes):
    typed.keys("h", "e", "ctrl+e")
    assert typed.codes == [] and "before leaving?" in typed.note
    typed.keys(key)
    assert typed.codes == codes
    assert (saved(typed) if typed.file.path.exists() else None) == left


def test_ctrl_c_saves_without_asking_beside_a_file_of_somebody_else(typed):
    typed.file.path.write_text("theirs", "utf-8")
    typed.keys("h", "ctrl+s", "ctrl+c")  # also where a question waits
    assert typed.codes == [130] and typed.file.path.name == "written-2.txt" and saved(typed) == "h"
    assert typed.file.path.with_name("written.txt").read_text("utf-8") == "theirs"


def test_nothing_is_left_where_it_cannot_be_saved(tmp_path):
    typed = Typed(tmp_path / "gone")
    typed.keys("h", "ctrl+c")
    assert typed.codes == [] and "cannot be written" in typed.note and typed.text == "h"
    typed.keys("ctrl+s", "ctrl+e", "n")
    assert typed.codes == [0]
    typed.interrupt(75, alone=True)  # nobody is there to help
    assert typed.codes == [0, 6]


def test_a_text_that_was_not_changed_is_not_written(tmp_path):
    typed = Typed(tmp_path, text="hello")
    typed.keys("ctrl+c")
    assert typed.codes == [130] and not typed.file.path.exists()


def test_a_free_name_is_one_that_is_not_there(tmp_path):
    path = tmp_path / "a.txt"
    assert free_name(path) == path
    path.touch()
    path.with_name("a-2.txt").symlink_to("nowhere")
    assert free_name(path).name == "a-3.txt"


def test_an_erased_character_has_no_colour_left(typed):
    typed.keys(*"hell")
    typed.take(Answer(Suggestion("", 1.0), 0, [], np.full(4, 0.5)))
    typed.keys("backspace", answers=False)
    assert len(typed.probabilities) == 3 and set(SYMBOLS) >= set(typed.text)
