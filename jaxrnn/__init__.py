"""Recurrent networks in JAX: fast, exact to the last bit across a restart, and clear enough to learn from.

The public names stand in `__init__.pyi` and are loaded when they are first used, so `import jaxrnn` costs nothing by
itself.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__version__ = "0.1.0"
