"""The scripts on a real server against the reference model, command by command."""
