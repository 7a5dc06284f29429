"""The paper's tables, re-measured: what `wakesleep reproduce` runs."""
