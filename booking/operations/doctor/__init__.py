"""`booking doctor`: checks everything that the service depends on, and says what is wrong and what to do."""
