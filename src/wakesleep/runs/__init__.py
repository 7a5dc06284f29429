"""A run from start to end: its settings, checkpoints, stages, likelihood, report and pictures."""
