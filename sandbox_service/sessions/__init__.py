"""Opening, running, expiring, adopting and ending sessions."""
