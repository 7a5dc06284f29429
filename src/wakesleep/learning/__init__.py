"""How weights move: one algorithm a file."""
