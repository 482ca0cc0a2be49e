"""Backups of earlier versions, each with what that version answered: `test_earlier_versions.py` reads them."""
