# mypy: ignore-errors
"""A program with the generated Python client: sells one ticket, twice. Prints what it got. Run by test_generators.py.

python buyer.py URL ORGANIZER_TOKEN BUYER_TOKEN
"""

import sys

from booking_client import AuthenticatedClient
from booking_client.api.organizing import initialize
from booking_client.api.sale import book
from booking_client.models import AlreadyBooked, BookRequest, BookResponse201, InitializeRequest, InvalidRequest

url, organizer_token, buyer_token = sys.argv[1:]
organizer = AuthenticatedClient(url, organizer_token, raise_on_unexpected_status=True)
buyer = AuthenticatedClient(url, buyer_token, raise_on_unexpected_status=True)

made = initialize.sync(client=organizer, body=InitializeRequest(event_name="A concert", available_tickets=1))
request = BookRequest(event_id=made.event_id)
booked = book.sync(client=buyer, body=request)
assert isinstance(booked, BookResponse201), booked
print(booked.data.status.value, booked.data.quantity)

again = book.sync(client=buyer, body=request)
assert isinstance(again, AlreadyBooked), again
print(again.status.value, again.code.value, again.data.booking.id == booked.data.id)

wrong = book.sync(client=buyer, body=BookRequest(event_id=made.event_id, quantity=0))
assert isinstance(wrong, InvalidRequest), wrong
print(wrong.status.value, wrong.code.value, wrong.errors[0].pointer)
