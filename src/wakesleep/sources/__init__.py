"""Where minibatches come from: cases in memory and how an epoch orders them, shards on a disk; to
the loop they are the same.
"""
