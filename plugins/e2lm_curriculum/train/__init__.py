"""Training along a plan, in steps that survive a kill: corpus prepared, ladder, one model, what it leaves on disk."""
