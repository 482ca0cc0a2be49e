"""What is said of an image: maps, paths, answers and verdicts. It knows no queue and no web."""
