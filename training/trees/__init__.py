"""Trees over a network's classes: built from its head or from WordNet, and named."""
