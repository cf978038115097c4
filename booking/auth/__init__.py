"""Tokens, key sets and passwords: who a caller is. This package knows no HTTP."""
