"""What runs the service and sets it up: locks, set-up scripts, the threat model."""
