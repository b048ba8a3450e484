"""Extra links: where a person goes on from a task in the web interface."""
