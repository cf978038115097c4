"""What an operator does to a service: audit it, restore it, examine it, add accounts."""
