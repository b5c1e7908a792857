"""Text in, symbol ids out: files, known texts, vocabularies, splits, training windows.

What reads a text (`corpus` and what it imports, `facts`) needs no JAX. What the compiled step calls is in `windows`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
