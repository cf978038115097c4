"""`python -m booking` is the command `booking`."""

from booking.cli import main

main()
