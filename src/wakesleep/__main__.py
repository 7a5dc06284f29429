"""`python -m wakesleep`: the command line."""

import os
import sys

from wakesleep.cli import main

if __name__ == "__main__":
    status = main()
    if "TORCHELASTIC_RUN_ID" in os.environ:  # torchrun started this rank
        from wakesleep.compute import distributed

        distributed.end_process(status)
    sys.exit(status)
