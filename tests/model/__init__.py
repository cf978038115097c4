"""Compares the scripts on a real server with the reference model, command by command."""
