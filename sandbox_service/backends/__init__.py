"""Starting and stopping sandboxes, and the line to their agents."""
