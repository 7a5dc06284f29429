"""Figures of units of all kinds."""
