"""Real sets become tensors here: found on this machine or fetched, checked byte by byte, and never unpickled."""

from wakesleep.data.checks import check_images, check_labels
from wakesleep.data.pictures import FIELD, ink_field, read_picture
from wakesleep.data.sets import KNOWN, Dataset, Split, describe, hold_out, load, match_classes, stays_on_disk
from wakesleep.foundation.errors import DataError, FetchError

__all__ = [
    "FIELD",
    "KNOWN",
    "DataError",
    "Dataset",
    "FetchError",
    "Split",
    "check_images",
    "check_labels",
    "describe",
    "hold_out",
    "ink_field",
    "load",
    "match_classes",
    "read_picture",
    "stays_on_disk",
]
