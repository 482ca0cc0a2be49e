"""The cost rig: what the worst that a stranger can send costs the service, and what another caller feels meanwhile."""
