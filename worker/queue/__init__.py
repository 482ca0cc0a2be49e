"""The way of a job through a worker, and the other tasks of Celery."""
