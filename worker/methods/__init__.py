"""Attribution methods: pure functions from inputs and scores to raw maps."""
