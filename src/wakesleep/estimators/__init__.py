"""Estimators for scikit-learn's users: a thin facade over the learning loops. Only this package builds on scikit-learn's classes."""

from __future__ import annotations

from wakesleep.estimators.rbm import BernoulliRBM

__all__ = ["BernoulliRBM"]
