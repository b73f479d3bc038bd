"""Mail, chat and everything else that Apprise can reach, by its URLs."""

from __future__ import annotations

import apprise

from review.alert_message import Message
from review.alert_target import NotDelivered, fingerprint

TIMEOUT_S = 20


class AppriseTarget:
    """One of Apprise's URLs, such as `mailtos://user:password@example.org` or `slack://…`."""

    def __init__(self, url: str) -> None:
        asset = apprise.AppriseAsset(
            app_id="Headrace", app_desc="Headrace", storage_mode="memory", service_timeout=TIMEOUT_S
        )
        service = apprise.Apprise.instantiate(url, asset=asset, suppress_exceptions=True)
        if service is None:
            raise ValueError("Apprise knows no such address; see its list of services")
        self.fingerprint = fingerprint(url)
        self.label = str(service.service_name or "service")
        self._apprise = apprise.Apprise(service, asset=asset)

    def send(self, message: Message) -> None:
        """Deliver it. Raises `NotDelivered`."""
        is_bad = any(told.turn != "resolved" for told in message.alerts)
        kind = apprise.NotifyType.FAILURE if is_bad else apprise.NotifyType.SUCCESS
        delivered = self._apprise.notify(
            body=message.text, title=message.title, notify_type=kind, body_format=apprise.NotifyFormat.TEXT
        )
        if not delivered:
            raise NotDelivered("Apprise could not deliver it; the log says why")
