"""The terminal writer's screen. The model answers in a thread of its own, so typing never waits for it."""

from __future__ import annotations

import asyncio
import functools
import gc
import itertools
from typing import Any

from rich.style import Style
from rich.text import Text
from textual import events
from textual.app import App, ComposeResult
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget
from textual.widgets import Static

from jaxrnn.inspect.coloured_text import mark_of
from jaxrnn.terminal.printable import printable
from jaxrnn.writer.answers import Request, answer_to
from jaxrnn.writer.page import page_of
from jaxrnn.writer.session import Session
from jaxrnn.writer.text_file import TextFile
from jaxrnn.writer.writing import Writing

KEYS = "Tab accept  → another  ↑↓ temperature  ^N list  ^P colours  ^S save  ^E leave"
PATIENCE = 0.02  # seconds that a key's character waits for the suggestion after it, to be drawn with it
GARBAGE = 100_000  # new objects between two looks for garbage


class Page(Widget, can_focus=True):
    """The text, its cursor and the suggestion. It takes every key, and draws the lines that have changed."""

    lines: list[Strip] = []
    ink = Style()

    def show(self, lines: list[Strip]) -> None:
        pairs = enumerate(itertools.zip_longest(lines, self.lines))
        changed = [Region(0, y, self.content_size.width, 1) for y, (new, old) in pairs if new != old]
        self.lines, self.ink = lines, self.rich_style  # which asks all widgets above: once here, not for each line
        if changed:
            self.refresh(*changed)

    def render_line(self, y: int) -> Strip:
        strip = self.lines[y] if y < len(self.lines) else Strip.blank(0)
        return strip.adjust_cell_length(self.content_size.width).apply_style(self.ink)

    def on_key(self, event: events.Key) -> None:
        event.stop()
        event.prevent_default()
        self._writer.writing.press(event.key, event.character if event.is_printable else None)
        self._writer.changed()

    def on_paste(self, event: events.Paste) -> None:
        event.stop()
        self._writer.writing.paste(event.text)
        self._writer.changed()

    def on_resize(self) -> None:
        self._writer.redraw()

    @property
    def _writer(self) -> Writer:
        assert isinstance(self.app, Writer)
        return self.app


class Writer(App[int], inherit_bindings=False):
    """The thesis's terminal writer; docs/terminal_writer.md has its keys. `run` gives an exit code, None if it broke.

    Args:
      session: the model's side.
      title: what is written above the text.
      file: where the text is saved.
      options: those of `Writing`.
    """

    ENABLE_COMMAND_PALETTE = False
    CSS = """
    Static { height: 1; padding: 0 1; text-wrap: nowrap; text-overflow: ellipsis; }
    #title, #keys { background: $surface; }
    #page { height: 1fr; padding: 1 1 0 1; }
    #note { height: auto; min-height: 1; max-height: 4; text-wrap: wrap; }
    #listed { height: auto; display: none; background: $surface; }
    """

    def __init__(self, session: Session, title: str, file: TextFile, **options: Any):
        super().__init__()
        self.session, self.model_name = session, printable(title, keep="")
        self.writing = Writing(session.known, file, self.exit, **options)
        self.compiled, self.answered = False, Request("", 0.0, 0, (), False)  # the last one that was
        self.fault: Exception | None = None
        self._shown: dict[str, str] = {}

    def compose(self) -> ComposeResult:
        yield Static(id="title")
        yield Page(id="page")
        yield Static(id="listed")
        yield Static(id="note")
        yield Static(Text(KEYS), id="keys")

    def on_mount(self) -> None:
        self.query_one(Page).focus()
        self._wanted = asyncio.Event()
        self._thinking = asyncio.create_task(self._think())

    async def _think(self) -> None:
        try:
            await asyncio.to_thread(self.session.prepare)
            # What the libraries hold is not looked through for garbage while somebody types, 0.2 s each time, and the
            # rest, mostly lines of the screen, seldom.
            gc.freeze()
            gc.set_threshold(GARBAGE)
            self.compiled = True
            while True:
                request = self.writing.request
                # A newer request makes this one stale: it is given up, or its answer is dropped.
                stale = functools.partial(lambda own: own is not self.writing.request, request)
                answer = await asyncio.to_thread(answer_to, self.session, request, stale)
                if answer is not None and not stale():
                    self.answered = request
                    self.writing.take(answer)
                    self.redraw()
                while self.answered is self.writing.request:
                    self._wanted.clear()
                    await self._wanted.wait()
        except Exception as error:  # the text outlives it, and the command tells of it
            self.fault = error
            self.exit()

    def interrupt(self, code: int, alone: bool) -> None:
        """What Ctrl-C does, for a signal, and whether the terminal is gone."""
        self.writing.interrupt(code, alone)
        self.redraw()

    def changed(self) -> None:
        """After a key. Its answer mostly comes at once, and then both are drawn together."""
        self._wanted.set()
        if self.answered is self.writing.request:
            self.redraw()
        else:
            self.set_timer(PATIENCE, self._redraw_without)

    def _redraw_without(self) -> None:
        if self.answered is not self.writing.request:
            self.redraw()

    def redraw(self) -> None:
        """Shows what there is to show."""
        if not self.is_running:
            return
        writing, page = self.writing, self.query_one(Page)
        width, height = page.content_size
        if width and height:
            p = writing.probabilities if writing.coloured else None
            page.show(page_of(writing.text, writing.suggestion, width, height, self.session.known, p))
        rows = []
        if writing.listed is not None:
            writing.room = max(1, self.size.height - 7)
            shown = writing.listed[: writing.room]
            rows = [f"{i} {s.probability:7.2%}  {''.join(map(mark_of, s.text))}" for i, s in enumerate(shown, 1)]
            rows.append("a digit accepts, Esc closes")
        self._put("listed", "\n".join(rows))
        self._put("title", f"temperature {writing.temperature:.2f}  {self.model_name}")
        self._put("note", writing.note or "compiling; you can type" * (not self.compiled))

    def _put(self, name: str, text: str) -> None:
        if self._shown.get(name) != text:
            self._shown[name] = text
            static = self.query_one(f"#{name}", Static)
            static.display = bool(text) or name != "listed"
            static.update(Text(text))
