"""The quality bars: how far the explanations of the shipped models can be trusted, measured against controls."""
