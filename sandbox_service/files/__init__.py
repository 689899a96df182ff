"""Workspace files, artifacts and the bytes they are made of."""
