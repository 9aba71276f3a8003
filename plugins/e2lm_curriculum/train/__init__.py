"""Training along a plan, in steps that survive a kill."""
