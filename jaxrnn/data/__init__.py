"""Text in, symbol ids out: files, known texts, vocabularies; training windows; sequences that are generated.

What reads a text (`corpus` and what it imports, `facts`) needs no JAX. What the compiled step calls is written in it:
`windows`, `probes`, `palindromes`, `timed_signals`.
"""
