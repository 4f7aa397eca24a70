"""What feeds the server's queue from outside."""
