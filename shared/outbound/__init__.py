"""Exchanges with hosts that a stranger named."""
