"""Errors, random numbers, options and files. Knows nothing of nets; everything may use it."""
