"""The thesis's grid of LSTM and GRU language models of equal cost; see `__main__.py`."""
