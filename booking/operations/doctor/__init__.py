"""`booking doctor`: looks at everything the service stands on, and says what is wrong and what to do."""
