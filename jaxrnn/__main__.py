"""`python -m jaxrnn` is the program `jaxrnn`."""

from jaxrnn.cli import main

if __name__ == "__main__":
    main()
