"""Where another process of the job is lost, this one says so in a line and leaves with the code of a stop.

JAX's coordination service misses a process that was killed, stopped or cut off: the heartbeats come from threads in
C++, which neither a long compilation nor a long save holds up. By itself JAX would then abort this process.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from jax._src import distributed

from jaxrnn.errors import EXIT_STOPPED, JaxrnnError
from jaxrnn.terminal.command import EXIT_UNEXPECTED, SECONDS_UNTIL_LOST

SECONDS_TO_READ = 5  # a shared disk may be gone with the host that was lost
LATEST = "the latest checkpoint"
_Function = ctypes.CFUNCTYPE(None)
_last_resort: Any = None  # C++ has its address
_saved_updates: Callable[[], Sequence[Sequence[int]]] | None = None


def training_begins(saved_updates: Callable[[], Sequence[Sequence[int]]]) -> None:
    """From here on a process that is lost ends this one with the code of a stop.

    Args:
      saved_updates: of each run those whose checkpoints are there when it is called, oldest first.
    """
    global _saved_updates
    _saved_updates = saved_updates


@contextlib.contextmanager
def watched() -> Iterator[None]:
    """Has the client that JAX makes in the block call `end_process` where it would abort."""
    of_jax, make = distributed._jax, distributed._jax.get_distributed_runtime_client
    state, shut_down = distributed.global_state, distributed.global_state.shutdown

    def make_watched(*arguments: Any, **options: Any) -> Any:
        if sys.platform == "linux":
            _end_at_bad_cast()
        state.shutdown = leave  # type: ignore[method-assign]
        return make(*arguments, missed_heartbeat_callback=end_process, **options)

    def leave() -> None:
        try:
            shut_down()
        except RuntimeError:  # as it waited for the others
            end_process()

    of_jax.get_distributed_runtime_client = make_watched
    try:
        yield
    finally:
        of_jax.get_distributed_runtime_client = make


def end_process(*_: object) -> None:
    """Ends this process, whatever its other threads wait for: what they save is there whole or not at all."""
    try:
        lines = [_line(LATEST)]
        reading = threading.Thread(target=lambda: lines.append(_line(_latest_checkpoint())), daemon=True)
        with contextlib.suppress(RuntimeError):  # the interpreter starts no thread as it ends
            reading.start()
            reading.join(SECONDS_TO_READ)
        below_the_bar = "\x1b[?25h\n" if os.isatty(2) else ""  # and with the cursor, which a bar hides
        os.write(2, f"{below_the_bar}{lines[-1]}".encode())
    finally:
        os._exit(EXIT_UNEXPECTED if _saved_updates is None else EXIT_STOPPED)


def _line(checkpoint: str) -> str:
    me, processes = distributed.global_state.process_id, distributed.global_state.num_processes
    who = f"process {1 - me}" if processes == 2 else f"one of the other {processes - 1} processes"
    again = "start all processes again with the same command"
    begun = _saved_updates is not None
    then = f"{again}, which goes on from {checkpoint}" if begun else f"mend what it may have said, and {again}"
    return f"jaxrnn: error: {who} ended, or was not heard from for {SECONDS_UNTIL_LOST} seconds; {then}\n"


def _latest_checkpoint() -> str:
    try:
        runs = _saved_updates() if _saved_updates else ()
    except (OSError, JaxrnnError):
        return LATEST
    return f"update {[0, *runs[0]][-1]:,}" if len(runs) == 1 else LATEST


def _end_at_bad_cast() -> None:
    # jaxlib (0.10 to 0.12) cannot hand its Status to a function of Python: a bad_cast that nobody catches, after which
    # C++ calls its last resort. For other faults that stays what it was.
    global _last_resort
    library = ctypes.CDLL("libstdc++.so.6")
    type_of_exception, set_last_resort = library.__cxa_current_exception_type, library._ZSt13set_terminatePFvvE
    type_of_exception.restype = set_last_resort.restype = ctypes.c_void_p

    def last_resort() -> None:
        found = type_of_exception()  # two pointers, the second to its name
        if found and ctypes.c_char_p.from_address(found + ctypes.sizeof(ctypes.c_void_p)).value == b"St8bad_cast":
            end_process()
        before()

    _last_resort = _Function(last_resort)
    before = _Function(set_last_resort(_last_resort))
