"""What the network is: units, RBM, directed layers, deep belief net. No learning, no loops."""
