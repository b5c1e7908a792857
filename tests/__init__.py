"""Tests. A session compiles a program once, whichever test or process asks for it, and without XLA's optimizations.

Those take half the time of most tests. `make slow` runs with them what is marked `slow` or `optimized`; a module that
always needs them, such as for stored digests, asks for the fixture `with_optimizations`.
"""

import atexit
import os
import shutil
import tempfile

# Here, because JAX reads the variables when it is imported; the workers and the commands that tests start inherit them.
if "PYTEST_XDIST_WORKER" not in os.environ:
    _PROGRAMS = tempfile.mkdtemp(prefix="jaxrnn-tests-")
    atexit.register(shutil.rmtree, _PROGRAMS, ignore_errors=True)
    os.environ["JAX_COMPILATION_CACHE_DIR"] = _PROGRAMS
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"
    os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "true")
