"""The paper's tables, a file each: what is run, from whose weights, and the rows that come of
it.
"""

from wakesleep.paper import (
    another,
    costs,
    depth,
    few_labels,
    generative,
    geometry,
    pretraining,
    strategies,
)
from wakesleep.paper.descendants import fourteen_methods as descendants

TABLES = {
    module.TABLE: module.rows
    for module in (
        strategies,
        pretraining,
        generative,
        depth,
        few_labels,
        geometry,
        another,
        costs,
        descendants,
    )
}
"""The rows of each table, by its name, in the order of the argument."""
