"""From a table of losses to a forecast with an interval, and to a decision."""
