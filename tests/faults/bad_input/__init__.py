"""Bad input: ten thousand damaged pictures, and requests that no browser would send."""
