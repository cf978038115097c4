"""An operator's commands: audit and restore a service, examine it, and add accounts."""
