"""`python -m booking` is the command `booking`."""

from booking.cli.main import main

main()
