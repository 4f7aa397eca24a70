"""Where filters keep sets; a user's own module with a class StorageObject takes the place of these."""
