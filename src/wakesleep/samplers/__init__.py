"""How states move: pure steps, (state, rng) -> new state."""
