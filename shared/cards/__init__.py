"""What is known of a model: its card, classes, tree, methods and calibration."""
