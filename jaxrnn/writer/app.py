"""The terminal writer's screen and keys. The model answers in a thread of its own, so typing never waits for it."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable

import numpy as np
from rich.text import Text
from textual import events
from textual.app import App, ComposeResult
from textual.widgets import Static

from jaxrnn.errors import EXIT_DONE, EXIT_INTERRUPTED, JaxrnnError
from jaxrnn.inspect.coloured_text import mark_of
from jaxrnn.terminal.printable import printable
from jaxrnn.writer.answers import Answer, Request, answer_to
from jaxrnn.writer.page import page_of
from jaxrnn.writer.session import Session, Suggestion
from jaxrnn.writer.text_file import TextFile, free_name

HOTTEST, WARMER = 5.0, 0.1  # temperatures
LISTED = 9  # alternatives, one a digit
KEYS = "Tab accept  → another  ↑↓ temperature  ^N list  ^P colours  ^S save  ^E leave"


class Page(Static, can_focus=True):
    """The text, its cursor and the suggestion. It takes every key."""

    def on_key(self, event: events.Key) -> None:
        event.stop()
        event.prevent_default()
        self._writer.press(event.key, event.character if event.is_printable else None)

    def on_paste(self, event: events.Paste) -> None:
        event.stop()
        self._writer.type(event.text)

    def on_resize(self) -> None:
        self._writer.redraw()

    @property
    def _writer(self) -> Writer:
        assert isinstance(self.app, Writer)
        return self.app


class Writer(App[int], inherit_bindings=False):
    """The writer of the thesis: see docs/terminal_writer.md for its keys. `run` gives an exit code.

    Args:
      session: the model's side.
      title: what is written.
      file: where the text is saved.
      text: to begin with.
      temperature: to begin with.
      erase_all: whether Backspace erases past the last accepted suggestion.
    """

    ENABLE_COMMAND_PALETTE = False
    CSS = """
    Static { height: 1; padding: 0 1; text-wrap: nowrap; text-overflow: ellipsis; }
    #title, #keys { background: $surface; }
    #page { height: 1fr; padding: 1 1 0 1; text-overflow: clip; }
    #listed { height: auto; max-height: 50%; display: none; background: $surface; }
    """

    def __init__(
        self,
        session: Session,
        title: str,
        *,
        file: TextFile,
        text: str = "",
        temperature: float = 1.0,
        erase_all: bool = False,
    ):
        super().__init__()
        self.session, self.model_name, self.file = session, printable(title, keep=""), file
        self.text = self.saved = text
        self.temperature, self.erase_all = temperature, erase_all
        self.suggestion, self.answered = "", False  # what is shown, and whether it is for all that was typed
        self.note = "compiling; you can type"
        self._floor, self._coloured = 0, False
        self._listed: list[Suggestion] | None = None
        self._choices: dict[str, Callable[[], None]] = {}  # of a question that waits for its key
        self._draw_number, self._probabilities = 0, np.zeros(0)
        self._others: tuple[tuple[str, float], ...] = ()
        self._wanted, self._request = asyncio.Event(), Request("", temperature, 0, (), False)
        self.fault: Exception | None = None
        control = {"s": self.save, "e": self.leave, "q": self.leave, "c": self.interrupt, "n": self.list_others}
        self._actions: dict[str, Callable[[], None]] = {f"ctrl+{key}": action for key, action in control.items()} | {
            "ctrl+p": self.colour,
            "tab": lambda: self.accept(self.suggestion),
            "right": self.another,
            "up": lambda: self.warm(WARMER),
            "down": lambda: self.warm(-WARMER),
            "backspace": self.erase,
            "ctrl+h": self.erase,
            "enter": lambda: self.type("\n"),
            "ctrl+j": lambda: self.type("\n"),
        }

    def compose(self) -> ComposeResult:
        yield Static(id="title")
        yield Page(id="page")
        yield Static(id="listed")
        yield Static(id="note")
        yield Static(Text(KEYS), id="keys")

    def on_mount(self) -> None:
        self.query_one(Page).focus()
        self._ask()
        self._thinking = asyncio.create_task(self._think())

    # The model's side.

    def _ask(self) -> None:
        self.answered = False
        self._request = Request(self.text, self.temperature, self._draw_number, self._others, self._listed is not None)
        self._wanted.set()
        self.redraw()

    async def _think(self) -> None:
        try:
            await asyncio.to_thread(self.session.prepare)
            self.note = ""
            while True:
                await self._wanted.wait()
                self._wanted.clear()
                request = self._request
                # A newer request makes this one stale: it is given up, or its answer is dropped.
                stale = functools.partial(lambda own: own is not self._request, request)
                answer = await asyncio.to_thread(answer_to, self.session, request, stale)
                if answer is not None and not stale():
                    self._show(answer)
        except Exception as error:  # the text outlives it; the command tells of it
            self.fault = error
            self.exit()

    def _show(self, answer: Answer) -> None:
        if self._others and answer.draw == self._draw_number:
            self.note = "no other suggestion was drawn" + (": at temperature 0 there is one" * (not self.temperature))
        self._draw_number, self._others, self._probabilities = answer.draw, (), answer.probabilities
        self.suggestion, self.answered = answer.suggestion.text, True
        if self._listed is not None:
            self._listed = answer.listed[:LISTED]
        self.redraw()

    # Keys.

    def press(self, key: str, character: str | None) -> None:
        """One key: by its name, and the character that it types if it types one."""
        if self._choices:
            choice = self._choices.get(key.lower())
            if choice:
                self._choices, self.note = {}, ""
                choice()
                self.redraw()
            return
        self.note = ""
        if self._listed and character and character.isdecimal() and 0 < int(character) <= len(self._listed):
            self.accept(self._listed[int(character) - 1].text)
        elif key in self._actions:
            self._actions[key]()
        elif character:
            self.type(character)
        elif key == "escape":
            self._listed = None
        self.redraw()

    def type(self, text: str) -> None:
        """Text that was typed or pasted."""
        text = text.replace("\r\n", "\n").replace("\r", "\n").encode("utf-8", "replace").decode("utf-8")
        unknown = sorted({c for c, known in zip(text, self.session.known(text), strict=True) if not known})
        if unknown:
            shown = ", ".join(f"{mark_of(c)} U+{ord(c):04X}" for c in unknown[:4]) + " ..." * (len(unknown) > 4)
            self.note = f"the model does not know {shown}: it reads on without"
        self.suggestion = self.suggestion.removeprefix(text) if self.suggestion.startswith(text) else ""
        self.text, self._listed = self.text + text, None
        self._ask()

    def accept(self, suggestion: str) -> None:
        """Writes a suggestion that is shown."""
        if suggestion:
            self.suggestion = ""
            self.type(suggestion)
            self._floor = len(self.text)

    def erase(self) -> None:
        """Takes the last character back."""
        if len(self.text) <= (0 if self.erase_all else self._floor):
            self.note = "Backspace goes back to the last accepted suggestion; --erase-all lifts that" * bool(self.text)
            return
        self.text, self.suggestion, self._listed = self.text[:-1], "", None
        self._probabilities = self._probabilities[: len(self.text)]
        self._ask()

    def warm(self, by: float) -> None:
        """Changes the temperature."""
        self.temperature = min(max(round(self.temperature + by, 2), 0.0), HOTTEST)
        self._ask()

    def another(self) -> None:
        """Asks for another suggestion than this one."""
        self._others = (*self._others, (self.text, self.temperature))
        self._ask()

    def list_others(self) -> None:
        """Lists several suggestions, or closes the list."""
        self._listed = [] if self._listed is None else None
        self._ask()

    def colour(self) -> None:
        """Colours the text by the model's confidence, or no longer."""
        self._coloured = not self._coloured
        self.note = "colour: the probability that the model gave each character" if self._coloured else ""

    # The file.

    def _ask_user(self, question: str, choices: dict[str, Callable[[], None]]) -> None:
        self.note, self._choices = f"{question} (Esc: go on writing)", choices | {"escape": lambda: None}

    @property
    def unsaved(self) -> bool:
        """Whether the text is another than it was at first and when it was last saved."""
        return self.text != self.saved

    def save(self, then: Callable[[], None] = lambda: None) -> None:
        """Saves the text; a file that was not saved here is asked about first."""
        if self.file.is_free:
            return self._write(then)
        question = f"{self.file} is there already. Write over it? y n"
        self._ask_user(question, {"y": lambda: self._write(then), "n": lambda: None})

    def _write(self, then: Callable[[], None]) -> None:
        try:
            self.file.write(self.text)
        except JaxrnnError as error:
            self.note = printable(str(error), keep="")
        else:
            self.saved, self.note = self.text, f"saved in {self.file}"
            then()

    def leave(self) -> None:
        """Ends the program, asking first where something is not saved."""

        def done() -> None:
            self.exit(EXIT_DONE)

        if self.unsaved:
            self._ask_user(f"Save in {self.file} before leaving? y n", {"y": lambda: self.save(done), "n": done})
        else:
            done()

    def interrupt(self, code: int = EXIT_INTERRUPTED) -> None:
        """Saves without asking and ends the program."""
        try:
            self.rescue()
        except JaxrnnError as error:
            self.note = printable(str(error), keep="")
            self.redraw()
        else:
            self.exit(code)

    def rescue(self) -> None:
        """Saves what is not saved, over no file but its own: where there is another one, beside it.

        Raises:
          StorageError: if it cannot be written.
        """
        if self.unsaved:
            if not self.file.is_free:
                self.file = TextFile(free_name(self.file.path))
            self.file.write(self.text)
            self.saved = self.text

    # The screen.

    def redraw(self) -> None:
        """Shows what there is to show."""
        if not self.is_running:
            return
        page, listed = self.query_one(Page), self.query_one("#listed", Static)
        width, height = page.content_size
        if width and height:
            p = self._probabilities if self._coloured else None
            shown = page_of(self.text, self.suggestion, width, height, self.session.known, p)
            page.update(Text("\n").join(shown.wrap(self.console, width, tab_size=4)[-height:]), layout=False)
        listed.display = self._listed is not None
        if self._listed is not None:
            rows = [
                f"{i}  {of.probability:5.3f}  {''.join(map(mark_of, of.text))}" for i, of in enumerate(self._listed, 1)
            ]
            listed.update(Text("\n".join([*rows, "a digit accepts, Esc closes"])))
        told = f"temperature {self.temperature:.2f}  {self.model_name}"
        self.query_one("#title", Static).update(Text(told), layout=False)
        self.query_one("#note", Static).update(Text(self.note), layout=False)
