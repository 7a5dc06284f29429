"""The command line's commands: one file each, its options as a dataclass and what it does as `run`."""
