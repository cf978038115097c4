"""What each command of `booking` takes, and whom it hands over to; each imports only what it needs."""
