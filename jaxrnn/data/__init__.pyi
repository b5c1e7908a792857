# The public names of this room and where each is defined; they are loaded when they are first used.
from .corpus import corpus_from_text as corpus_from_text
from .long_symbols import LongSymbols as LongSymbols
from .long_symbols import learn_symbols as learn_symbols
from .reading_options import ReadingOptions as ReadingOptions
from .splits import TextSplit as TextSplit
from .splits import split_text as split_text
from .windows import count_windows as count_windows
from .windows import window_at as window_at
