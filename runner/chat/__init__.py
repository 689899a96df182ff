"""`python -m runner chat`: a conversation in a terminal, stored as it goes on."""
