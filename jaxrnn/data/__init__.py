"""Text in, symbol ids out: files, known texts, vocabularies and training windows. Nothing here needs JAX."""
