"""`pathlight bulk`: thousands of pictures through a service or in this process, to be gone on with after any end."""
