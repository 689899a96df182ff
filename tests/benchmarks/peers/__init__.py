"""What a user would pick instead, from the same image on the same machine."""
