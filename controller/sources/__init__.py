"""Where KPI data come from: adapters named after what they read; they share `records` and `counting`."""
