"""Are the defaults good? A file a topic, each run as a module: `python -m
benchmarks.defaults.pictures`.
"""
