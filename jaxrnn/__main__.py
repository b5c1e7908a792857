"""`python -m jaxrnn` is the program `jaxrnn`."""

import os
import signal
from typing import NoReturn

from jaxrnn.errors import EXIT_INTERRUPTED


def main() -> NoReturn:
    """The program `jaxrnn`: Ctrl-C ends it without a traceback also before its command line is imported."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else it is ignored
        signal.signal(signal.SIGINT, lambda *_: os._exit(EXIT_INTERRUPTED))
    from jaxrnn.cli import main as run

    run()


if __name__ == "__main__":
    main()
