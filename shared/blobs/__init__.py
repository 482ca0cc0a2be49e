"""Files named by their SHA-256, in a folder or a bucket, and archives of images."""
