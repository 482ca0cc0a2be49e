"""The mathematics of maps and trees, as pure functions of tensors."""
