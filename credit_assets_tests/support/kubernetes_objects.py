"""Kubernetes objects as the API has them: checked against its schemas, and made of what it would answer."""

from __future__ import annotations

import json
from typing import Any

import kubernetes_validate
from kubernetes.client.api_client import ApiClient

VERSIONS = ("1.31", "1.34", "1.37")


def schema_errors(manifest: dict[str, Any]) -> list[str]:
    """What each of three Kubernetes versions has against a manifest."""
    found = []
    for version in VERSIONS:
        try:
            kubernetes_validate.validate(manifest, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            found.append(f"{version}: {error.message}")
    return found


def objects(kind: str, content: dict[str, Any]) -> Any:
    """What the client makes of such an answer: an object of the class named, such as V1Pod."""

    class Response:
        data = json.dumps(content)

    return ApiClient().deserialize(Response, kind)
