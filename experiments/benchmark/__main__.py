"""Speed of jaxrnn against other stacks, one command a table.

    python -m experiments.benchmark book     the book recipe against NumPy, PyTorch and Flax: `book.py`
    python -m experiments.benchmark cells    LSTM and GRU language models against PyTorch and Flax: `cells.py`
    python -m experiments.benchmark classify a classifier of NumPy sequences against PyTorch: `classify.py`
    python -m experiments.benchmark decode   each decoder against the plain sampler, many texts at once: `decode.py`
    python -m experiments.benchmark layers   one layer, every engine against PyTorch, on a GPU too: `layers.py`
    python -m experiments.benchmark population
                                             a population against its members one after another
    python -m experiments.benchmark compiled what an H100 or a TPU would launch, compiled without having one
    python -m experiments.benchmark against  this checkout against another one: `against.py`
    python -m experiments.benchmark resident the kernels of `resident` on a GPU in every setting: `resident.py`
    python -m experiments.benchmark large    a text larger than memory, streamed from disk: `large.py`
    python -m experiments.benchmark seeds    seeds of palindromes together against one after another

What was obtained, with device and date, stands at the top of those files.
"""

import os

import cyclopts

from experiments.benchmark.against import compare_checkouts
from experiments.benchmark.book import time_book
from experiments.benchmark.cells import time_cells
from experiments.benchmark.classify import time_classify
from experiments.benchmark.compiled import count_kernels
from experiments.benchmark.decode import time_decode
from experiments.benchmark.large import time_large
from experiments.benchmark.layers import time_layers
from experiments.benchmark.population import time_population
from experiments.benchmark.resident import time_resident
from experiments.benchmark.seeds import time_seeds
from jaxrnn.terminal import run_app

app = cyclopts.App(
    name="python -m experiments.benchmark", help="Measures jaxrnn against other stacks.", version_flags=[]
)
app.command(compare_checkouts, name="against")
app.command(time_book, name="book")
app.command(time_cells, name="cells")
app.command(time_classify, name="classify")
app.command(count_kernels, name="compiled")
app.command(time_decode, name="decode")
app.command(time_large, name="large")
app.command(time_layers, name="layers")
app.command(time_population, name="population")
app.command(time_resident, name="resident")
app.command(time_seeds, name="seeds")

if __name__ == "__main__":
    print(f"{os.cpu_count()} cores")
    run_app(app)
