"""Are the defaults good? A file a topic, each run as `python -m wakesleep.experiments.defaults.TOPIC`."""
