"""Authentication: tokens, key sets and passwords. This package does not depend on HTTP."""
