"""Where live sessions are kept."""
