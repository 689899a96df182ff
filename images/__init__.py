"""The sandbox image: what goes into it, and how it is built without anything but an engine."""
