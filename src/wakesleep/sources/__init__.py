"""Where minibatches come from: cases in memory and how a pass orders them, shards on a disk; to the loop they are the same."""
