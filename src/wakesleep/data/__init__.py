"""Real sets become tensors here: found on this machine or fetched, checked byte by byte, and never
unpickled.
"""

from wakesleep.data.checks import check_images, check_labels
from wakesleep.data.loading import load, load_arrays, stays_on_disk
from wakesleep.data.pictures import FIELD, ink_field, read_picture
from wakesleep.data.preparation import Preparation, for_own_set, from_header
from wakesleep.data.sets import (
    KNOWN,
    LOCAL,
    Dataset,
    Split,
    describe,
    hold_out,
    match_classes,
    prepared,
    some,
)
from wakesleep.foundation.errors import DataError, FetchError
from wakesleep.foundation.options import RAW, PictureOptions

__all__ = [
    "FIELD",
    "KNOWN",
    "LOCAL",
    "RAW",
    "DataError",
    "Dataset",
    "FetchError",
    "PictureOptions",
    "Preparation",
    "Split",
    "check_images",
    "check_labels",
    "describe",
    "for_own_set",
    "from_header",
    "hold_out",
    "ink_field",
    "load",
    "load_arrays",
    "match_classes",
    "prepared",
    "read_picture",
    "some",
    "stays_on_disk",
]
