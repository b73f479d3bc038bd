from __future__ import annotations

from typing import Any

import msgspec
import pytest

from scoring.api import Api
from scoring.examples import EXAMPLE, LABEL_EXAMPLE
from scoring.openapi import (
    DECISION_EXAMPLE,
    LINES,
    REFUSALS,
    Accepted,
    BatchItem,
    Refusal,
    amended,
    paths_of,
)
from scoring.scorer import Scorer
from stream.records import Action, Decision, Label, Reading, Transaction, decode

BENTOML = {
    "openapi": "3.0.2",
    "info": {"title": "headrace_fraud", "contact": {"name": "BentoML Team"}},
    "servers": [{"url": "."}],
    "paths": {
        "/livez": {"get": {"responses": {"200": {"description": "Successful Response"}}, "tags": ["Infrastructure"]}},
        "/fraud/score": {"post": {"responses": {"200": {}, "500": {}}}},
    },
}
KINDS: dict[str, Any] = {
    "Transaction": Transaction,
    "TransactionRequest": Transaction,
    "LabelRequest": Label,
    "Decision": Decision,
    "Refusal": Refusal,
    "Accepted": Accepted,
    "BatchItem": BatchItem,
}


def examples(node: Any) -> list[tuple[dict[str, Any], Any]]:
    """Each example with its schema."""
    if isinstance(node, list):
        return [found for one in node for found in examples(one)]
    if not isinstance(node, dict):
        return []
    own = []
    if "schema" in node:
        own += [(node["schema"], node["example"])] if "example" in node else []
        own += [(node["schema"], one["value"]) for one in node.get("examples", {}).values()]
    return own + [found for one in node.values() for found in examples(one)]


def struct_of(schema: dict[str, Any]) -> Any:
    if "oneOf" in schema:
        return Transaction | Action | Reading
    if schema.get("type") == "array":
        return list[struct_of(schema["items"])]  # type: ignore[misc]
    return KINDS[schema["$ref"].rpartition("/")[2]]


def test_every_example_is_what_its_schema_says() -> None:
    found = [(schema, example) for schema, example in examples(paths_of("fraud")) if isinstance(example, (dict, list))]
    assert len(found) > 20
    for schema, example in found:
        decode(msgspec.json.encode(example), struct_of(schema))


def test_every_reference_is_there() -> None:
    document = amended(BENTOML)
    text = msgspec.json.encode(document).decode()
    names = {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}
    assert names <= set(document["components"]["schemas"])


def test_bentomls_own_pages_stay_and_its_account_of_ours_goes() -> None:
    document = amended(BENTOML)
    assert document["openapi"] == "3.1.0"
    assert "contact" not in document["info"]
    assert "text/plain" in document["paths"]["/livez"]["get"]["responses"]["200"]["content"]
    responses = document["paths"]["/fraud/score"]["post"]["responses"]
    assert set(responses) == {"200", "400", "409", "413", "503"} | {"401", "403", "429"}
    assert "200" in BENTOML["paths"]["/livez"]["get"]["responses"]  # type: ignore[index]


def test_every_route_of_the_front_door_is_documented(scorer: Scorer) -> None:
    api = Api(scorer, 60_000, 9000)
    paths = paths_of("fraud")
    assert {path for path, item in paths.items() if "post" in item} == {*api.routes, api.batch_route}
    assert {path for path, item in paths.items() if "get" in item} == {
        "/decisions/{event_id}",
        "/explanations/{event_id}",
    }
    for item in paths.values():
        for operation in item.values():
            assert "503" in operation["responses"]
            names = {parameter["name"] for parameter in operation["parameters"]}
            assert names == ({"X-Deadline-Ms"} if operation is item.get("post") else {"event_id"})


def test_a_record_need_not_say_its_type_where_only_one_is_taken() -> None:
    document = amended(BENTOML)
    schemas = document["components"]["schemas"]
    assert "type" in schemas["Transaction"]["required"]
    for kind, example in ((Transaction, EXAMPLE), (Label, LABEL_EXAMPLE)):
        assert "type" not in schemas[f"{kind.__name__}Request"]["required"]
        decode(msgspec.json.encode({key: value for key, value in example.items() if key != "type"}), kind)


@pytest.mark.parametrize("status", REFUSALS)
def test_a_refusals_example_reads_as_one(status: int) -> None:
    refusal: Refusal = decode(msgspec.json.encode(REFUSALS[status][1]), Refusal)
    assert refusal.message


def test_lines_are_offered_beside_the_array() -> None:
    batch = paths_of("fraud")["/fraud/score/batch"]["post"]
    assert LINES in batch["requestBody"]["content"]
    assert LINES in batch["responses"]["200"]["content"]
    assert DECISION_EXAMPLE["outcome"] == "review"
