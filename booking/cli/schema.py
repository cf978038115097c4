"""The command `openapi`, which prints the API's description for other programs."""

import json
import sys


def openapi() -> None:
    """Print the OpenAPI 3.1 document of every endpoint, as JSON, without a running service.

    It has all fields, limits, problem codes and examples, and is made from the schemas that validate requests. A
    running service has the same document at /openapi.json, and as a page at /docs.

        booking openapi > booking.json
        booking openapi | jq '.paths | keys'
    """
    from booking.web.openapi.document import document

    # JSON is UTF-8, whatever the locale's encoding is (RFC 8259, section 8.1).
    sys.stdout.buffer.write(json.dumps(document(), indent=2, ensure_ascii=False).encode() + b"\n")
