"""From a user's YAML to what is done with each tensor."""
