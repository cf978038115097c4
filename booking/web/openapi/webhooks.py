"""The operations on webhooks."""

from booking.web import request_schemas, response_schemas
from booking.web.openapi import examples
from booking.web.openapi.operation import Audience, Operation, ResponseDoc, Tag
from booking.web.openapi.schemas import HAS_MORE, list_of, ref, success

WEBHOOK = ref(response_schemas.WebhookData)

MESSAGES = (
    "Messages follow Standard Webhooks: `POST` with `webhook-id`, `webhook-timestamp` and `webhook-signature`, and the "
    'body `{"type": "booking.promoted", "timestamp": …, "data": …}`, whose `data` is a row of the feed. Of each '
    "event they come in the order of `seq`, at least once each. A 2xx within 10 s is a success; anything else is "
    "repeated with the same id, for three days. Then, or after a 410, the webhook is disabled, with its reason. "
    "Nothing is dropped: once it is enabled again, it goes on from where it stood."
)


def _operation(
    method: str,
    path: str,
    id: str,  # noqa: A002  # the document's own word
    summary: str,
    response: ResponseDoc,
    description: str = "",
    body: type[request_schemas.Payload] | None = None,
    body_example: dict[str, object] | None = None,
    parameters: tuple[str, ...] = (),
    refusals: tuple[str, ...] = (),
    *,
    reads_redis: bool = False,
) -> Operation:
    return Operation(
        method,
        f"/webhooks{path}",
        id,
        Tag.ORGANIZING,
        Audience.ORGANIZER,
        summary,
        (response,),
        description,
        body,
        body_example,
        parameters,
        refusals + (("webhook_not_found",) if path else ()),
        reads_redis=reads_redis,
        reads_database=True,
    )


WEBHOOKS = (
    _operation(
        "POST",
        "",
        "add_webhook",
        "Register a webhook",
        ResponseDoc(
            201,
            "Registered. It is told what comes next. `secret` is not shown again.",
            success("Webhook created successfully", WEBHOOK, examples.NEW_WEBHOOK),
            ("Location",),
        ),
        MESSAGES,
        request_schemas.WebhookRequest,
        {"url": "https://shop.example.com/hooks", "kinds": ["promoted", "cancelled"]},
        refusals=("too_many_webhooks", "event_not_found"),
        reads_redis=True,
    ),
    _operation(
        "GET",
        "",
        "list_webhooks",
        "List one's own webhooks, newest first",
        ResponseDoc(
            200,
            "A page.",
            success("Fetched webhooks", list_of(response_schemas.WebhookData), [examples.WEBHOOK], has_more=HAS_MORE),
        ),
        "Administrators see all webhooks.",
        parameters=("limit", "webhooks.starting_after"),
    ),
    _operation(
        "GET",
        "/{webhook_id}",
        "read_webhook",
        "Read a webhook",
        ResponseDoc(200, "The webhook.", success("Fetched webhook", WEBHOOK, examples.WEBHOOK)),
    ),
    _operation(
        "PATCH",
        "/{webhook_id}",
        "change_webhook",
        "Change a webhook, or enable it again",
        ResponseDoc(200, "Changed.", success("Webhook updated successfully", WEBHOOK, examples.WEBHOOK)),
        "With `status` `enabled`, all that has failed is sent again at once.",
        request_schemas.WebhookChange,
        {"status": "enabled"},
    ),
    _operation(
        "DELETE",
        "/{webhook_id}",
        "remove_webhook",
        "Remove a webhook",
        ResponseDoc(200, "Removed.", success("Webhook removed successfully", WEBHOOK, examples.WEBHOOK)),
    ),
    _operation(
        "POST",
        "/{webhook_id}/rotate",
        "rotate_secret",
        "Give a webhook a new secret",
        ResponseDoc(
            200,
            "The new secret, which is not shown again.",
            success("Secret rotated successfully", WEBHOOK, examples.NEW_WEBHOOK),
        ),
        "For 24 h messages are signed with both secrets.",
    ),
    _operation(
        "POST",
        "/{webhook_id}/test",
        "test_webhook",
        "Send a test message now",
        ResponseDoc(
            200,
            "What became of it.",
            success("Test message sent", ref(response_schemas.TestData), examples.TEST),
        ),
        "Its `type` is `webhook.test`. It is sent once, also to a webhook that is disabled.",
        refusals=("invalid_request",),
    ),
    _operation(
        "POST",
        "/{webhook_id}/replay",
        "replay_webhook",
        "Tell an event's changes once more",
        ResponseDoc(202, "They will be sent.", success("Replay begun", WEBHOOK, examples.WEBHOOK)),
        "Each message has the id that it had before. What was never delivered is not left out, whatever `after` is.",
        request_schemas.ReplayRequest,
        {"event_id": 1, "after": 7},
        refusals=("event_not_found",),
        reads_redis=True,
    ),
    _operation(
        "GET",
        "/{webhook_id}/deliveries",
        "list_deliveries",
        "List a webhook's last deliveries, newest first",
        ResponseDoc(
            200,
            "A page.",
            success(
                "Fetched deliveries", list_of(response_schemas.DeliveryData), [examples.DELIVERY], has_more=HAS_MORE
            ),
        ),
        "The last 50 that succeeded and the last 50 that failed are kept.",
        parameters=("limit", "deliveries.starting_after"),
    ),
)
