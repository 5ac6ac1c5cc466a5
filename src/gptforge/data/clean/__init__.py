"""Cleaning of text before tokens: what to repair, take out or mask."""
