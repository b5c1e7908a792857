"""Palindromes: a network reads T digits and names the first at the end; see `__main__.py`."""
