"""The figures, re-measured: importable functions, each with a smoke-sized twin that the tests run."""
