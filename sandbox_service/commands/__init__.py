"""What an operator does beside serving: one module for each command of the command line."""
