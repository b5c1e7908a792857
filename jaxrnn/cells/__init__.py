"""One cell a file. `table.CELL_TABLE` says what there is; `CELLS` makes them by name.

The names in `__init__.pyi` are loaded when they are first used, so that the settings can read the table without loading
JAX.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
