"""What Schemathesis does besides: a check; links and a schema that the document does not have."""

from typing import Any

import schemathesis

from tests.deep.fuzz.refusals_of_valid_data import refused_by_a_rule_beyond_the_schema

__all__ = ["refused_by_a_rule_beyond_the_schema"]

# By operation and status: bodies of requests that a client makes with the response. OpenAPI
# Generator takes a document for wrong that has them.
REFRESH = {"refresh": "$response.body#/refresh"}
LINKS: dict[tuple[str, str], dict[str, dict[str, Any]]] = {
    ("accounts.create", "201"): {
        "tokens.create": {
            "username": "$response.body#/username",
            "password": "$request.body#/password",
        }
    },
    ("tokens.create", "200"): {
        "tokens.refresh": REFRESH,
        "tokens.revoke": REFRESH,
        "tokens.verify": {"token": "$response.body#/access"},
    },
    ("events.create", "201"): {"ticket_types.create": {"event": "$response.body#/id"}},
    ("ticket_types.create", "201"): {
        "purchases.create": {"ticket_type": "$response.body#/id", "quantity": 1}
    },
}


# Of the whole stream, the document says that it is a text; Schemathesis compares each event.
EVENT = {
    "type": "object",
    "required": ["event", "data"],
    "properties": {
        "event": {"enum": ["position", "outcome"]},
        "data": {
            "type": "string",
            "contentMediaType": "application/json",
            "contentSchema": {"$ref": "#/components/schemas/Purchase"},
        },
    },
}


@schemathesis.hook
def before_load_schema(_context: schemathesis.HookContext, raw_schema: dict[str, Any]) -> None:
    for path in raw_schema["paths"].values():
        for operation in path.values():
            for status, response in operation["responses"].items():
                if "text/event-stream" in response.get("content", {}):
                    response["content"]["text/event-stream"] = {"schema": EVENT}
                for name, body in LINKS.get((operation["operationId"], status), {}).items():
                    link = {"operationId": name, "requestBody": body}
                    response.setdefault("links", {})[name] = link
