"""Deep Boltzmann machines and samplers: figures on small machines, and density models."""
