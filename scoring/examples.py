"""One record of each kind that a client sends: what the documents show, and what a scorer warms up with."""

from __future__ import annotations

EXAMPLE = {
    "type": "transaction",
    "event_id": "tx-1001",
    "event_timestamp": "2026-01-31T12:00:00Z",
    "card_id": "card-7",
    "merchant_id": "merchant-3",
    "device_id": "device-9",
    "amount": 129.9,
    "currency": "EUR",
}
LABEL_EXAMPLE = {"type": "label", "event_id": "tx-1001", "label": "fraud", "labelled_at": "2026-02-07T09:30:00Z"}
