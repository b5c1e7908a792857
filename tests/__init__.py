"""Tests. A session compiles a program once, whichever test or process asks for it, and without XLA's optimizations.

Compiling is most of the time of the tests. Without the optimizations it takes half as long, and without the newer of
XLA's two emitters on a CPU a quarter of that: a training program 0.3 s in place of 1.5. (From JAX 0.11 on there is only
the newer one.) `make slow` runs with both what is marked `slow` or `optimized`; a module that always needs them, for
stored digests or the same bits of two programs, asks for the fixture `with_optimizations`. A program is compiled in one
part: the workers fill the cores.
"""

import atexit
import os
import shutil
import tempfile
from importlib.metadata import version

QUICK_TO_COMPILE = "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
KNOWS_IT = version("jaxlib").startswith("0.10.")  # later ones end the process that asks for it
# Here, because JAX reads the variables when it is imported; the workers and the commands that tests start inherit them.
if "PYTEST_XDIST_WORKER" not in os.environ:
    _PROGRAMS = tempfile.mkdtemp(prefix="jaxrnn-tests-")
    atexit.register(shutil.rmtree, _PROGRAMS, ignore_errors=True)
    os.environ["JAX_COMPILATION_CACHE_DIR"] = _PROGRAMS
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"
    os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "true")
    if KNOWS_IT and os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] == "true":
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {QUICK_TO_COMPILE}".strip()
