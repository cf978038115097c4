"""The command that describes the service to other programs: `openapi`."""

import json


def openapi() -> None:
    """Print the OpenAPI 3.1 document of every endpoint, as JSON, without a running service.

    Every field, limit, problem code and example is in it, made from what validates the requests. A running service has
    the same at /openapi.json, and as a page at /docs.

        booking openapi > booking.json
        booking openapi | jq '.paths | keys'
    """
    from booking.web.openapi.document import document

    print(json.dumps(document(), indent=2, ensure_ascii=False))
