"""The job store in Redis: jobs, batches, keys, pools and webhooks, each operation one Lua script."""
