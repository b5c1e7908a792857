"""What a time gate on an LSTM is good for; see `__main__.py`."""
