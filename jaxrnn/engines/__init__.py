"""Apply a cell to a window of inputs: one call, several engines behind it."""

from jaxrnn.engines.choose import ENGINES, choose_engine, engines_of, unroll

__all__ = ["ENGINES", "choose_engine", "engines_of", "unroll"]
