"""Options of the command line, and what a command shows while it runs."""
