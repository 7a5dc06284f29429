"""Estimators for scikit-learn's users: a thin facade over the learning loops. Only this package
builds on scikit-learn's classes.
"""

from __future__ import annotations

from wakesleep.estimators.classifier import DBNClassifier
from wakesleep.estimators.deep_classifier import DBMClassifier
from wakesleep.estimators.pipeline import make_dbn_pipeline
from wakesleep.estimators.rbm import BernoulliRBM
from wakesleep.estimators.regressor import DBNRegressor
from wakesleep.estimators.several_senses import MultimodalDBNClassifier
from wakesleep.estimators.table_rbm import TableRBM
from wakesleep.estimators.transformer import DBNTransformer

__all__ = [
    "BernoulliRBM",
    "DBMClassifier",
    "DBNClassifier",
    "DBNRegressor",
    "DBNTransformer",
    "MultimodalDBNClassifier",
    "TableRBM",
    "make_dbn_pipeline",
]
