"""What an explanation is worth: measurements of maps and confidences, their warnings and their plain sentences."""
