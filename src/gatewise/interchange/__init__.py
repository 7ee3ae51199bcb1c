"""Models and weights from elsewhere and to elsewhere: one module a format, the same verbs.

Each ``from_`` and ``to_`` runs what it made beside what it was given, on drawn numbers, and raises
if they differ: a conversion that is silently wrong is worse than none.
"""
