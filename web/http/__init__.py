"""What API and pages stand on: access, limits, forms, problems, and the server."""
