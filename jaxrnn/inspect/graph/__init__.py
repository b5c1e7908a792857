"""A small library of nodes to learn from: values forward, gradients backward, and drawings of both.

The names in `__init__.pyi` are loaded when they are first used.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
