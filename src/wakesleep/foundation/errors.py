"""The one family of errors a user of wakesleep has to know.

Every refusal the library makes on purpose is a `WakesleepError`. Its message says what came, what
was expected, and the fix.
"""


class WakesleepError(Exception):
    """Anything wakesleep refuses to do, with the fix in its message."""


class ConfigError(WakesleepError, ValueError):
    """A setting that cannot work: a rate below zero, K < 1, a label group that does not match."""


class DataError(WakesleepError, ValueError):
    """Cases, labels or pictures that cannot be used: NaN, wrong range or shape, a corrupt or empty
    file.
    """


class FetchError(DataError):
    """A data set that is neither on this machine nor reachable over the network."""


class CheckpointError(WakesleepError):
    """A run folder or weight file that is missing, damaged, foreign, of a newer format, or already
    in the way.
    """


class DivergedError(WakesleepError, ArithmeticError):
    """Learning left the finite numbers (NaN or infinite weights)."""
