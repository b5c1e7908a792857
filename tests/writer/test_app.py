import asyncio
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from textual.events import Paste

from jaxrnn.writer.app import Page, Writer
from jaxrnn.writer.text_file import TextFile
from tests.writer.small import session


def drive(tmp_path: Path, script: Callable, size: tuple[int, int] = (60, 12), **options) -> Writer:
    """Runs the app without a terminal; `script(app, press)` is a user, whose every key is answered."""
    app = Writer(session(), "small", TextFile(tmp_path / "written.txt"), **options)

    async def run() -> None:
        async with app.run_test(size=size) as pilot:

            async def press(*keys: str) -> None:
                for key in keys or ("",):
                    if key:
                        await pilot.press(key)
                    while app.is_running and app.answered is not app.writing.request:
                        await asyncio.sleep(0.001)
                await pilot.pause()

            press.pilot = pilot  # type: ignore[attr-defined]
            await press()
            await script(app, press)

    asyncio.run(run())
    return app


def screen(app: Writer) -> str:
    """What a terminal would show, line by line."""
    lines = [app.screen._compositor.render_strips()[y] for y in range(app.size.height)]
    return "\n".join("".join(segment.text for segment in line).rstrip() for line in lines)


async def h(app, press):
    await press("h")
    return app.writing.suggestion


KEYS: dict[str, Callable[[Writer, str], bool]] = {
    "e": lambda app, before: app.writing.text == "he",
    "space": lambda app, before: app.writing.text == "h ",
    "enter": lambda app, before: app.writing.text == "h\n",
    "tab": lambda app, before: app.writing.text == "h" + before,
    "right": lambda app, before: app.writing.suggestion not in ("", before),
    "up": lambda app, before: "temperature 1.10" in screen(app),
    "down": lambda app, before: "temperature 0.90" in screen(app),
    "backspace": lambda app, before: app.writing.text == "",
    "ctrl+n": lambda app, before: (
        "a digit accepts" in screen(app) and re.search(r"^ 2 +\d", screen(app), re.M) is not None
    ),
    "ctrl+p": lambda app, before: "colours" in screen(app),
    "ctrl+s": lambda app, before: "saved in" in screen(app) and app.writing.file.path.read_text("utf-8") == "h",
    "ctrl+e": lambda app, before: "before leaving? y n" in screen(app),
    "ctrl+q": lambda app, before: "before leaving? y n" in screen(app),
    "ctrl+c": lambda app, before: app.return_value == 130 and app.writing.file.path.exists(),
    "left": lambda app, before: app.writing.text == "h" and app.writing.suggestion == before,
}


@pytest.mark.parametrize("key", KEYS)
def test_a_key_does_what_it_says(tmp_path, key):
    async def script(app, press):
        before = await h(app, press)
        assert before and f" h{before}" in screen(app).replace("\N{OPEN BOX}", " ")
        await press(key)
        assert KEYS[key](app, before), screen(app)

    drive(tmp_path, script)


def test_a_long_paste_is_shown_by_its_end_read_in_the_background_and_typing_goes_on(tmp_path):
    text = "hello den é\n" * 900 + "bane"

    async def script(app, press):
        app.query_one(Page).post_message(Paste(text))
        while not app.writing.text:
            await asyncio.sleep(0)
        app.query_one(Page).post_message(Paste("l"))
        while app.writing.text != text + "l":
            await asyncio.sleep(0)
        assert app.answered is not app.writing.request  # it is still being read
        await press()
        expected = session().suggest(text + "l")
        assert expected and app.writing.suggestion == expected.text
        assert "hello den é\n banel" in screen(app) and "does not know é" in screen(app)

    drive(tmp_path, script)


def test_the_text_is_broken_anew_when_the_terminal_changes_its_size(tmp_path):
    async def script(app, press):
        words = [f"word{i}" for i in range(40)]
        app.writing.paste(" ".join(words))
        app.changed()
        await press("down")
        for size in ((30, 16), (100, 8), (8, 5), (60, 12)):
            await press.pilot.resize_terminal(*size)
            await press()
            shown = screen(app)
            assert all(len(line) <= size[0] for line in shown.split("\n"))
            if size[1] > 5:
                assert "word39" in shown.replace("\n", " ")

    drive(tmp_path, script, text="")


def test_of_a_list_as_much_is_shown_as_there_is_room_for_now_and_a_digit_takes_what_is_shown(tmp_path):
    async def script(app, press):
        await press("h", "ctrl+n")
        for height, third in ((9, False), (20, True), (9, False)):
            await press.pilot.resize_terminal(60, height)
            await press()
            assert (re.search(r"^ 3 +\d", screen(app), re.M) is not None) is third
        await press("3")
        assert app.writing.text == "h3"

    drive(tmp_path, script)


def test_nothing_that_is_written_or_suggested_reaches_the_terminal_as_a_control_character(tmp_path):
    async def script(app, press):
        app.writing.suggestion = "\x1b]0;title\x07 \u202e"
        app.redraw()
        await press()
        shown = screen(app)
        assert "\\x1b]0;title\\x07" in shown and "red\\x1b[2J" in shown
        assert all(c.isprintable() or c == "\n" for c in shown)

    drive(tmp_path, script, text="red\x1b[2J\u202e\x00\x9b")


def test_the_first_suggestion_is_there_before_a_key_and_colours_follow_the_text(tmp_path):
    async def script(app, press):
        assert app.compiled and app.writing.suggestion
        await press("ctrl+p", *"hello")
        strips = app.screen._compositor.render_strips()
        colours = {str(segment.style.bgcolor) for segment in strips[2] if segment.text.strip() in set("helo")}
        assert len(colours) > 1

    drive(tmp_path, script)


def test_a_fault_of_the_model_ends_the_program_with_its_text(tmp_path, monkeypatch):
    async def script(app, press):
        def fails(*_):
            raise RuntimeError("out of memory")

        monkeypatch.setattr(app.session, "suggest", fails)
        app.writing.paste("hello")
        app.changed()
        while app.fault is None:
            await asyncio.sleep(0.001)

    app = drive(tmp_path, script)
    assert str(app.fault) == "out of memory" and app.return_value is None and app.writing.unsaved
