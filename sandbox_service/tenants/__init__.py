"""Tenants: their keys, how much they may use, and the audit log of what they did."""
