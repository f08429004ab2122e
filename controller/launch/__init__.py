"""Launch day: operations for people on top of the same core."""
