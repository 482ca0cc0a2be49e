"""Reports on many pictures: a row for each, and what they say together, as a page, as charts and as tables."""
