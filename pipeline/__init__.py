"""What does happen: use cases, the journal, routes, subscribers, the command line."""
