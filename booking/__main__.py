"""`python -m booking` runs the command `booking`."""

from booking.cli.main import main

main()
