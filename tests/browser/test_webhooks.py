"""The organizer's page for webhooks: one is registered, tried, repaired and removed there."""

from playwright.sync_api import expect

from tests.contract.api import Api
from tests.contract.client import fresh

from .conftest import Sit

NOWHERE = "https://shop.invalid/hooks"


def test_a_webhook_is_registered_tried_repaired_and_removed_on_its_page(api: Api, sit: Sit) -> None:
    organizer = fresh("organizer")
    visitor = sit(organizer, "organizer")
    visitor.go("/console")
    page = visitor.page
    page.get_by_role("link", name="Webhooks").click()
    page.get_by_label("Address").fill("http://10.0.0.1/")
    visitor.expected.append("status of 422")
    page.get_by_role("button", name="Register").click()
    expect(page.get_by_text("The URL has to begin with https://")).to_be_visible()
    page.get_by_label("Address").fill(NOWHERE)
    page.get_by_role("button", name="Register").click()
    expect(page.get_by_role("status").filter(has_text="whsec_")).to_be_visible()
    page.get_by_role("button", name="Send a test").click()
    expect(page.get_by_role("alert").filter(has_text="The test message has failed.")).to_be_visible()
    caller = api.bearer(organizer, {**api.claims(organizer), "role": "organizer"})
    (webhook,) = caller.get("/webhooks").data
    caller.call("PATCH", f"/webhooks/{webhook['id']}", {"status": "disabled"})
    page.reload()
    page.get_by_role("button", name="Repair").click()
    expect(page.get_by_text("Enabled")).to_be_visible()
    assert caller.get("/webhooks").data[0]["status"] == "enabled"
    page.get_by_role("button", name="Last deliveries").click()
    expect(page.get_by_text("Nothing was sent yet.")).to_be_visible()
    page.get_by_role("button", name="Remove").click()
    page.get_by_role("dialog").get_by_role("button", name="Remove").click()
    expect(page.get_by_text("There is no webhook yet.")).to_be_visible()
