"""Training data: where rows come from, how they are read, and whether evaluation problems are among them."""
