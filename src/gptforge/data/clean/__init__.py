"""Cleaning of documents, each filter by itself: what it changed or dropped is counted and shown.

Rules for one document (text, quality, language, put together in `cleaner`) need nothing but the document; those over
the collection (duplicates, boilerplate) see it once and decide then. Knows nothing of files, splits or tokens.
"""
