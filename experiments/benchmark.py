"""Speed of jaxrnn against other stacks, one command a table.

    python -m experiments.benchmark book     the book recipe against NumPy, PyTorch and Flax: `benchmark_book.py`
    python -m experiments.benchmark cells    LSTM and GRU language models against PyTorch and Flax: `benchmark_cells.py`
    python -m experiments.benchmark population
                                             a population against its members one after another
    python -m experiments.benchmark compiled what an H100 or a TPU would launch, compiled without having one
    python -m experiments.benchmark against  this checkout against another one: `benchmark_against.py`
    python -m experiments.benchmark seeds    seeds of palindromes together against one after another

What was obtained, with device and date, stands at the top of those files.
"""

import os

import cyclopts

from experiments.benchmark_against import against
from experiments.benchmark_book import book
from experiments.benchmark_cells import cells
from experiments.benchmark_compiled import compiled
from experiments.benchmark_population import population
from experiments.benchmark_seeds import seeds
from jaxrnn.terminal.command import run_app

app = cyclopts.App(help="Measures jaxrnn against other stacks.")
app.command(against)
app.command(book)
app.command(cells)
app.command(compiled)
app.command(population)
app.command(seeds)

if __name__ == "__main__":
    print(f"{os.cpu_count()} cores")
    run_app(app)
