"""Reports on many pictures: a row for each, and what they say together, as a page, as figures and as tables."""
