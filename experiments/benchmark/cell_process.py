"""A competitor of `cells.py` as a process that is asked; `cell_worker.py` is what answers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping

from experiments.benchmark.cell_baselines import CellSetting
from experiments.benchmark.timing import ROOT


class Worker:
    """A competitor in its own process, warmed up; leaving the context ends it."""

    def __init__(
        self, stack: str, setting: CellSetting, text: str | None, environment: Mapping[str, str], precision: str
    ):
        command = [sys.executable, "-m", "experiments.benchmark.cell_worker", stack, setting.kind]
        command += [str(setting.hidden), str(setting.layers), "--batch-size", str(setting.batch_size)]
        command += ["--bptt-length", str(setting.bptt_length), *(["--text", text] if text else [])]
        command += ["--precision", precision]
        alone = {"JAX_ENABLE_COMPILATION_CACHE": "false", "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}  # cold; GPU shared
        started = time.perf_counter()
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, **alone, **environment},
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        try:
            self._read_until("first update")
            self.first_update_seconds = time.perf_counter() - started
            self._read_until("ready")
        except BaseException:
            self.process.kill()
            self.process.communicate()
            raise

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.process.communicate("quit\n", timeout=30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()

    def ask(self, command: str) -> dict[str, float]:
        assert self.process.stdin is not None
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        return json.loads(self._read_until("{"))

    def _read_until(self, beginning: str) -> str:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith(beginning):
                return line
        raise RuntimeError(f"{' '.join(self.process.args)} ended with {self.process.wait()}; its error is above")  # type: ignore[arg-type]
