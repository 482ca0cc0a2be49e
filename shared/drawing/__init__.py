"""Drawings of maps and trees, made from raw values."""
