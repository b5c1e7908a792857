"""A text while it is written: what each key does to it. There is no screen and no model in it."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from jaxrnn.errors import EXIT_DONE, EXIT_INTERRUPTED, JaxrnnError
from jaxrnn.inspect.coloured_text import mark_of
from jaxrnn.terminal.printable import printable
from jaxrnn.writer.answers import Answer, Request
from jaxrnn.writer.session import Suggestion
from jaxrnn.writer.text_file import TextFile, free_name

HOTTEST, WARMER = 5.0, 0.1  # temperatures
LISTED = 9  # alternatives, one a digit
NOTE_SECONDS = 3.0  # as long a note stays, then to the next key


class Writing:
    """The text, the suggestion that is shown, and what is asked of the model.

    Args:
      known: which characters of a text the model knows.
      file: where the text is saved.
      leave: ends the program with an exit code.
      text: to begin with.
      temperature: to begin with.
      erase_all: whether Backspace erases past the last accepted suggestion.

    Attributes:
      request: what the model is asked; another object when it changes.
      suggestion: what is shown, before the answer what is left of the last one.
      listed: suggestions to choose from by a digit; None if there is no list.
      room: how many of them are shown.
      probabilities: that the model gave to the characters, as far as it has answered.
      note: a line for the writer, or nothing.
    """

    def __init__(
        self,
        known: Callable[[str], np.ndarray],
        file: TextFile,
        leave: Callable[[int], None],
        *,
        text: str = "",
        temperature: float = 1.0,
        erase_all: bool = False,
    ):
        self._known, self.file, self._exit = known, file, leave
        self.text = self._saved = text
        self.temperature, self.erase_all = temperature, erase_all
        self.suggestion, self.coloured, self.probabilities = "", False, np.zeros(0)
        self.listed: list[Suggestion] | None = None
        self.room = LISTED
        self.note, self._told = "", 0.0
        self._floor, self._draw = 0, 0
        self._others: tuple[tuple[str, float], ...] = ()
        self._choices: dict[str, Callable[[], None]] = {}  # of a question that waits for its key
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
        self._ask()

    def _ask(self) -> None:
        self.request = Request(self.text, self.temperature, self._draw, self._others, self.listed is not None)

    def take(self, answer: Answer) -> None:
        """Takes the answer to `request`."""
        if self._others and answer.draw == self._draw:
            self._tell("no other suggestion was drawn" + ": at temperature 0 there is one" * (not self.temperature))
        self._draw, self._others, self.probabilities = answer.draw, (), answer.probabilities
        self.suggestion = answer.suggestion.text
        if self.listed is not None:
            self.listed = answer.listed[:LISTED]

    # Keys.

    def press(self, key: str, character: str | None) -> None:
        """One key: its name, and the character that it types if it types one."""
        self._forget_note()
        shown = (self.listed or [])[: self.room]
        if self._choices and key != "ctrl+c":
            choice = self._choices.get(key.lower())
            if choice:
                self._choices = {}
                self._tell("")
                choice()
        elif character and character.isdecimal() and 0 < int(character) <= len(shown):
            self.accept(shown[int(character) - 1].text)
        elif key in self._actions:
            self._actions[key]()
        elif character:
            self.type(character)
        elif key == "escape":
            self.listed = None

    def paste(self, text: str) -> None:
        """Text that was pasted; not while a question waits for its key."""
        if not self._choices:
            self._forget_note()
            self.type(text)

    def _tell(self, note: str) -> None:
        self.note, self._told = note, time.monotonic()

    def _forget_note(self) -> None:
        if not self._choices and time.monotonic() - self._told > NOTE_SECONDS:
            self._tell("")

    def type(self, text: str) -> None:
        """Adds text at the end."""
        text = text.replace("\r\n", "\n").replace("\r", "\n").encode("utf-8", "replace").decode("utf-8")
        unknown = sorted({c for c, known in zip(text, self._known(text), strict=True) if not known})
        if unknown:
            shown = ", ".join(f"{mark_of(c)} U+{ord(c):04X}" for c in unknown[:4]) + " ..." * (len(unknown) > 4)
            self._tell(f"the model does not know {shown}: it reads on without")
        self.suggestion = self.suggestion.removeprefix(text) if self.suggestion.startswith(text) else ""
        self.text, self.listed = self.text + text, None
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
            self._tell("Backspace goes back to the last accepted suggestion; --erase-all lifts that" * bool(self.text))
            return
        self.text, self.suggestion, self.listed = self.text[:-1], "", None
        self.probabilities = self.probabilities[: len(self.text)]
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
        self.listed = [] if self.listed is None else None
        self._ask()

    def colour(self) -> None:
        """Colours the text by the model's confidence, or no longer."""
        self.coloured = not self.coloured
        self._tell("colours: the probability that the model gave each character" * self.coloured)

    # The file.

    def _ask_user(self, question: str, choices: dict[str, Callable[[], None]]) -> None:
        self._choices = choices | {"escape": lambda: None}
        self._tell(f"{question} (Esc: go on writing)")

    @property
    def unsaved(self) -> bool:
        """Whether the text is another than it was at first and when it was last saved."""
        return self.text != self._saved

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
            self._tell(printable(str(error), keep=""))
        else:
            self._saved = self.text
            self._tell(f"saved in {self.file}")
            then()

    def leave(self) -> None:
        """Ends the program, asking first where something is not saved."""

        def done() -> None:
            self._exit(EXIT_DONE)

        if self.unsaved:
            self._ask_user(f"Save in {self.file} before leaving? y n", {"y": lambda: self.save(done), "n": done})
        else:
            done()

    def interrupt(self, code: int = EXIT_INTERRUPTED, alone: bool = False) -> None:
        """Saves without asking and ends the program; where that fails only if nobody is left who could help."""
        try:
            self.rescue()
        except JaxrnnError as error:
            self._tell(printable(str(error), keep=""))
            if alone:
                self._exit(error.exit_code)
        else:
            self._exit(code)

    def rescue(self) -> None:
        """Saves what is not saved, over no file but its own: where there is another one, beside it.

        Raises:
          StorageError: if it cannot be written.
        """
        if self.unsaved:
            if not self.file.is_free:
                self.file = TextFile(free_name(self.file.path))
            self.file.write(self.text)
            self._saved = self.text
