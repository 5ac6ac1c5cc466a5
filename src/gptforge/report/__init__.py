"""Reports as pages: one HTML file with tables and pictures that needs no network, no script and nothing beside it.

Knows the JSON values that other parts make; measures nothing.
"""
