"""A network made ready and fast: found, loaded, taken apart, folded and run."""
