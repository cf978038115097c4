"""The link behind which a buyer pays: a template of the event's organizer, filled in and signed.

The shop behind the link knows the event's secret, so it can tell that user and payment were not forged.
"""

import re
from hmac import digest
from urllib.parse import quote, urlsplit

TEMPLATE_CHARACTERS_MAX = 2_000
"""From the contract."""

PLACES = ("event_id", "user_id", "payment_id", "signature")
"""What a template has to name, each in braces."""

_PLACE = re.compile(r"\{([^{}]*)\}")
_URL = re.compile(r"[\w.~:/?#\[\]@!$&'()*+,;=%{}-]+", re.ASCII)  # RFC 3986, section 2, and the braces of places
_AUTHORITY = re.compile(r"(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::\d+)?")
_LOOPBACK = frozenset(("localhost", "127.0.0.1", "::1"))
_PURPOSE = "payment-url:"


def template_fault(template: str) -> str | None:
    """Why a text is no template of a link; None if it is one."""
    if len(template) > TEMPLATE_CHARACTERS_MAX:
        return f"should have at most {TEMPLATE_CHARACTERS_MAX:,} characters"
    if not _URL.fullmatch(template):
        return "has to be an https URL in ASCII: no spaces, and other characters percent-encoded"
    try:
        parts = urlsplit(template)
        parts.port  # noqa: B018  # it is parsed now
    except ValueError:
        return "is not a URL"
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOOPBACK):
        return "has to begin with https://; http:// is for localhost, 127.0.0.1 and [::1] only"
    if not _AUTHORITY.fullmatch(parts.netloc):
        return "has to name a host, without a user name, a password or a place to fill in"
    named = _PLACE.findall(template)
    missing = [f"{{{place}}}" for place in PLACES if place not in named]
    if missing:
        return f"lacks {' and '.join(missing)} in its path, query or fragment"
    if set(named) - set(PLACES) or re.search("[{}]", _PLACE.sub("", template)):
        return f"can have in braces only {', '.join(PLACES)}"
    return None


class PaymentLinks:
    """Fills in the templates of all events. The secrets of events are derived, and nothing stores them."""

    def __init__(self, signing_secret: bytes) -> None:
        """`signing_secret` is the one that signs tokens. If it is replaced, every event has another secret."""
        self._signing_secret = signing_secret

    def secret_of(self, event_id: int) -> str:
        """The secret of an event: 64 hexadecimal digits."""
        return digest(self._signing_secret, f"{_PURPOSE}{event_id}".encode(), "sha256").hex()

    def signature(self, event_id: int, user_id: str, payment_id: str) -> str:
        """What proves that the service made a link: HMAC-SHA256 in hexadecimal digits, by the event's secret."""
        message = f"{event_id}\n{user_id}\n{payment_id}"
        return digest(self.secret_of(event_id).encode(), message.encode(), "sha256").hex()

    def link(self, template: str, event_id: int, user_id: str, payment_id: str) -> str:
        """A template filled in. Each value is percent-encoded."""
        values = {
            "event_id": str(event_id),
            "user_id": user_id,
            "payment_id": payment_id,
            "signature": self.signature(event_id, user_id, payment_id),
        }
        return _PLACE.sub(lambda place: quote(values[place[1]], safe=""), template)
