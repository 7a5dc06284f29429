"""How the figures were measured: each module is run from a checkout, `python -m benchmarks.NAME`;
none is part of the wheel.
"""
