"""What came later, beside the deep belief net: plain PyTorch, a method a file, for one table.

Every method gets the same cases, the same few labels, nets of about the same size that know nothing
of places, Adam, and at most twenty minutes of one core for a cell of the table. They are no part of
the library's interface.
"""
