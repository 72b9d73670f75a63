"""What runs leave on disk: the schema, reading and writing it, the environment."""
