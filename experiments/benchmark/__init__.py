"""Speed of jaxrnn against other stacks and against itself; see `__main__.py`."""
