"""The answer to a job as frozen records: what workers store, the API returns and every reader draws from."""
