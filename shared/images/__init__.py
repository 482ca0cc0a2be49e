"""Images: their files, their pixels, and what a network sees of them."""
