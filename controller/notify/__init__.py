"""Adapters that tell people."""
