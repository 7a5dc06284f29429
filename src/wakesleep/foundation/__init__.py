"""Seeds, devices and errors. Knows nothing of nets; everything may use it."""
