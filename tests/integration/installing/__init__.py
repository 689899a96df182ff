"""Locks, by installers of every age, on a day when all that they name has become newer."""
