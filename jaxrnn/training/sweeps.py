"""A directory of many runs: those that fit into one program are trained as one, what is finished is recorded at once.

DIR/RECORD.json         what all of it shares; another record is refused
    members/ID/         the run directory of a member: it opens with `open_run`
    rounds/GROUP.json   the updates at which the members of a program were saved together last
    results.jsonl, .csv a row a finished member
    lock                one process at a time
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import json
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jaxrnn.checks import FORMER_WORDS, word_of_now
from jaxrnn.config import CHANGEABLE, TrainConfig
from jaxrnn.data.corpus import Corpus
from jaxrnn.devices.hosts import is_writer, of_writer
from jaxrnn.errors import ConfigurationError, NumericError
from jaxrnn.storage.lock import run_lock
from jaxrnn.storage.logs import json_number, read_metrics
from jaxrnn.storage.run_list import read_run
from jaxrnn.storage.small_files import read_json, write_atomically
from jaxrnn.storage.sweep_table import said, sweep_table
from jaxrnn.terminal.progress import Progress
from jaxrnn.terminal.stop_request import StopRequest
from jaxrnn.training.loop import Loop
from jaxrnn.training.member_runs import MemberResult, train_members
from jaxrnn.training.report import Report
from jaxrnn.training.run_devices import layout_of
from jaxrnn.training.values import group_by_structure

Row = dict[str, Any]


class Group(NamedTuple):
    """Members that are trained as one program.

    Attributes:
      configs: their settings.
      ids: what they are called in the sweep.
      rows: what the caller calls each, a row of its own columns.
    """

    configs: list[TrainConfig]
    ids: list[str]
    rows: list[Row]

    @property
    def name(self) -> str:
        """A name of their own: other members make another, so that none goes on with what is not its own."""
        return hashlib.sha256("".join(self.ids).encode()).hexdigest()[:16]

    def describe(self) -> str:
        """How many they are, and in a line what the first are called."""
        told = [", ".join(f"{name} {said(value)}" for name, value in row.items()) for row in self.rows[:4]]
        members = f"{len(self.rows)} runs as one program: " if len(self.rows) > 1 else ""
        return members + "; ".join(told + ["..."] * (len(self.rows) > 4))


class Sweep:
    """Trains many settings in one directory, each once, and goes on where it was stopped or killed.

    Args:
      directory: made if missing.
      columns: of results.csv; all there are if None.
      record: what all runs share, such as the recipe and the number of devices; kept in `record_name`, and a directory
        with another one is refused.
      record_name: the name of that file.
      result_row: what is recorded of a finished member: its row, how it ended, seconds of its program a member.

    Example:
      configs = [TrainConfig(text="book.txt", cell="gru", epochs=5, validation_fraction=0.1, seed=s) for s in range(4)]
      sweep = Sweep("runs/seeds")
      sweep.train(configs)
      best = min(sweep.rows(), key=lambda row: row["valid_loss"])
      jaxrnn.open_run(sweep.path_of(best["member"])).sample(200)

    Raises:
      ConfigurationError: on `train`, if the directory holds a sweep of another record.
    """

    def __init__(
        self,
        directory: str | Path,
        columns: Sequence[str] | None = None,
        record: dict[str, Any] | None = None,
        record_name: str = "sweep.json",
        result_row: Callable[[Row, MemberResult, float], Row] | None = None,
    ):
        self.directory, self.columns, self.record = Path(directory), columns, record or {}
        self.record_path = self.directory / record_name
        self.result_row = result_row or default_row

    def train(
        self,
        configs: Sequence[TrainConfig],
        rows: Sequence[Row] | None = None,
        *,
        devices: int | None = None,
        corpus: Corpus | None = None,
        progress: Progress | None = None,
        halving: bool = False,
        begin: Callable[[Group], None] = lambda group: None,
        report: Callable[[Group, Loop, Report], None] = lambda group, loop, report: None,
        end: Callable[[Group, list[MemberResult]], None] = lambda group, results: None,
        prepare: Callable[[Group, Path], None] = lambda group, members: None,
    ) -> str | None:
        """Trains what is not done yet.

        Args:
          configs: settings of each member.
          rows: what the caller calls each; the settings in which they differ if None.
          devices: how many share the work; all if None.
          corpus: the text, if it was read already.
          progress: what a person sees of the programs; nothing if None.
          halving: after epochs 2, 4, 8, ... the worse half of a program's members is stopped.
          begin, report, end: called when a program begins, where the loop reports, and when it is done.
          prepare: called before, with the directory of the members; for what older versions left.

        Returns:
          Why it was stopped, or None if all is done.
        """
        labels = differing(configs) if rows is None else rows
        named = {member_id(config): (config, row) for config, row in zip(configs, labels, strict=True)}
        with contextlib.ExitStack() as stack:
            stop = stack.enter_context(StopRequest())
            if is_writer():
                self.directory.mkdir(parents=True, exist_ok=True)
                stack.enter_context(run_lock(self.directory))
            done = {row.get("member") for row in of_writer(self.rows() if is_writer() else [])}
            options: dict[str, Any] = dict(stop=stop, devices=devices, corpus=corpus, halving=halving)
            options["progress"] = progress or Progress(quiet=True)
            groups = group_by_structure(config for name, (config, _) in named.items() if name not in done)
            for settings in groups:  # devices with which nothing can be trained are not recorded
                layout_of(settings, devices)
            if is_writer():
                self._keep_record()
            for settings in groups:
                ids = [member_id(config) for config in settings]
                group = Group(settings, ids, [named[name][1] for name in ids])
                if not self._train_group(group, options, begin, report, end, prepare):
                    return stop.reason or "stopped"
        return None

    def rows(self) -> list[Row]:
        """The rows of every finished member, in the order in which they ended."""
        return read_rows(self.directory)

    def rows_of(self, configs: Sequence[TrainConfig]) -> list[Row]:
        """The rows of these members, in their order, as far as they are finished."""
        known = {row.get("member"): row for row in self.rows()}
        names = [member_id(config) for config in configs]
        return [known[name] for name in names if name in known]

    def table(self, configs: Sequence[TrainConfig]) -> str:
        """How these members have ended and in what they differ, the best first: see `sweep_table`."""
        labels = {member_id(config): row for config, row in zip(configs, differing(configs), strict=True)}
        rows = {row["member"]: row for row in self.rows_of(configs)}
        return sweep_table(self.directory / "members", labels, list(rows.values()))

    def path_of(self, member: str) -> Path:
        """The run directory of a member."""
        return self.directory / "members" / member

    def add(self, new: Sequence[Row]) -> None:
        """Records rows, all in one rename, so that each is there whole or not at all, and writes results.csv anew."""
        rows = [*self.rows(), *new]
        as_json = ({k: json_number(v) if isinstance(v, float) else v for k, v in row.items()} for row in rows)
        write_atomically(self.directory / "results.jsonl", "".join(json.dumps(row) + "\n" for row in as_json))
        self.write_csv()

    def write_csv(self) -> None:
        """Writes results.csv: a row a member."""
        table = io.StringIO()
        rows = self.rows()
        columns = self.columns or list(dict.fromkeys(name for row in rows for name in row))
        writer = csv.DictWriter(table, columns, lineterminator="\n", extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
        write_atomically(self.directory / "results.csv", table.getvalue())

    def _train_group(self, group: Group, options: dict[str, Any], begin, report, end, prepare) -> bool:
        clock = self.directory / "rounds" / f"{group.name}.seconds.json"
        if is_writer():
            clock.parent.mkdir(exist_ok=True)
            prepare(group, self.directory / "members")
        before = read_json(clock)["seconds"] if clock.is_file() else 0.0
        started = time.monotonic()

        def told(loop: Loop, what: Report) -> None:
            if is_writer():
                write_atomically(clock, json.dumps({"seconds": before + time.monotonic() - started}) + "\n")
                report(group, loop, what)

        begin(group)
        options["progress"].message(group.describe())
        paths = [self.path_of(name) for name in group.ids]
        rounds = self.directory / "rounds" / f"{group.name}.json"
        results: list[MemberResult] | None
        try:
            results = train_members(group.configs, paths, rounds, report=told, **options)
        except NumericError as error:
            if len(paths) > 1:
                raise
            # A run by itself has diverged, which ends it and not the sweep, as it does a member among others.
            options["progress"].warning(f"{paths[0]}: {error}")
            rows = of_writer(read_metrics(paths[0] / "metrics.jsonl") if is_writer() else [])
            updates = int(rows[-1]["update"]) if rows else 0
            results = [MemberResult("diverged", updates, 0, 0, 0, math.nan, math.inf, math.nan, None, 0)]
        if results is None:
            return False
        seconds = (before + time.monotonic() - started) / len(results)
        if is_writer():
            told_of = [_with_losses_of_log(result, path) for result, path in zip(results, paths, strict=True)]
            ended = zip(group.ids, group.rows, told_of, strict=True)
            self.add([{"member": name, **self.result_row(row, result, seconds)} for name, row, result in ended])
        end(group, results)
        return True

    def _keep_record(self) -> None:
        record = json.loads(json.dumps(self.record))
        if not self.record_path.is_file():
            write_atomically(self.record_path, json.dumps(record, indent=2) + "\n")
            return
        known = _in_words_of_now(read_json(self.record_path))
        if known == record:
            return
        here, there = _flat(record), _flat(known if isinstance(known, dict) else {})
        names = sorted(name for name in here | there if here.get(name) != there.get(name))
        raise ConfigurationError(
            f"{self.directory} holds a sweep of another recipe; choose another --run, or the same {', '.join(names)}",
            [f"{name}: there {there.get(name)!r}, asked {here.get(name)!r}" for name in names],
        )


def read_rows(directory: Path) -> list[Row]:
    """The rows of every finished member of the sweep in a directory."""
    return [_in_words_of_now(row) for row in read_metrics(directory / "results.jsonl")]


def differing(configs: Sequence[TrainConfig]) -> list[Row]:
    """Of each, the settings in which they are not all equal.

    Example:
      >>> differing([TrainConfig(seed=1), TrainConfig(seed=2)])
      [{'seed': 1}, {'seed': 2}]
    """
    settings = [config.to_json() for config in configs]
    names = [name for name in settings[0] if any(of[name] != settings[0][name] for of in settings)] if settings else []
    return [{name: of[name] for name in names} for of in settings]


def member_id(config: TrainConfig) -> str:
    """What tells a member from another: a digest of all its settings but intervals of the host."""
    # These values are left out: what was finished before there were the settings stays so.
    young = {"best_by": "fresh", "validation_text": None}
    left_out = CHANGEABLE - {"updates", "epochs"} | {name for name in young if getattr(config, name) == young[name]}
    kept = {name: value for name, value in config.to_json().items() if name not in left_out}
    for name, words in FORMER_WORDS.items():  # the digest is over the words of then
        of_then = {now: then for then, now in words.items()}
        kept[name] = of_then.get(kept[name], kept[name])
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:16]


def default_row(row: Row, result: MemberResult, seconds: float) -> Row:
    """The caller's columns, then how the member ended."""
    values = result._asdict()
    test = values.pop("test")
    tested = {"test_loss": test.loss, "test_accuracy": test.accuracy} if test else {}
    return row | values | tested | {"seconds": round(seconds, 1)}


def _with_losses_of_log(result: MemberResult, path: Path) -> MemberResult:
    """A result with the losses that the log has, where the run ended in its first epoch: it has no score of one."""
    if result.end == "diverged" or not result.train_loss == result.valid_loss == math.inf:
        return result
    run = read_run(path)
    lowest = run.lowest()
    valid = math.inf if lowest is None else float(lowest[f"valid/{run.loss_name}"])
    return result._replace(train_loss=run.training_loss(), valid_loss=valid)


def _in_words_of_now(record: Any, name: str = "") -> Any:
    if isinstance(record, dict):
        return {name: _in_words_of_now(value, name) for name, value in record.items()}
    return word_of_now(name, record)


def _flat(record: dict[str, Any]) -> dict[str, Any]:
    inner = {name: value for part in record.values() if isinstance(part, dict) for name, value in part.items()}
    return inner | {name: value for name, value in record.items() if not isinstance(value, dict)}
