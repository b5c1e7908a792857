"""Orbax without its noise: what it logs where a checkpoint is damaged, up to a hundred lines, is said in one by us."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import logging
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any

_ONE_AT_A_TIME = threading.RLock()  # what is changed for the block belongs to the whole process


@contextlib.contextmanager
def orbax_quiet() -> Iterator[None]:
    """Keeps Orbax and TensorStore from printing while the block runs, and what they left behind after it.

    Orbax raises the first error and closes its event loops while other reads and writes of them are still under way.
    TensorStore's threads then find the loops closed, some milliseconds later or when their futures are collected, and
    each prints a traceback of its own. So the loops that are made in the block are made silent, for as long as they
    live; nothing of the process stays changed after it.
    """
    importlib.import_module("orbax.checkpoint")  # it loads uvloop, if there is one
    logger = logging.getLogger("absl")
    with _ONE_AT_A_TIME, contextlib.ExitStack() as after, warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        after.callback(logger.setLevel, logger.level)
        logger.setLevel(logging.CRITICAL + 1)
        # Orbax makes its loops with one of these two; uvloop's only where it is installed.
        for module in filter(None, (asyncio, sys.modules.get("uvloop"))):
            make = module.new_event_loop
            after.callback(setattr, module, "new_event_loop", make)
            module.new_event_loop = _silent(make)  # type: ignore[attr-defined]
        yield


def _silent(make: Callable[[], Any]) -> Callable[[], Any]:
    def new_event_loop() -> Any:
        loop = make()
        call = loop.call_soon_threadsafe

        def call_unless_closed(*arguments: Any, **options: Any) -> Any:
            # A closed loop has nobody left who waits.
            return None if loop.is_closed() else call(*arguments, **options)

        loop.set_exception_handler(lambda *_: None)  # of tasks whose error nobody asks for, since another came first
        loop.call_soon_threadsafe = call_unless_closed
        return loop

    return new_event_loop
