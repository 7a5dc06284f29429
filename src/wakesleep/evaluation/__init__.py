"""How good it is: never trains."""
