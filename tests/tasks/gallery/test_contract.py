"""The JSON API keeps to its OpenAPI description, whatever is sent to it."""

from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from storage.roots import Root
from tasks.gallery.runs import Runs
from tasks.gallery.server import OPENAPI, application
from tests.tasks.gallery import made_up

CHECKS = [
    not_a_server_error,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
]


LIMITS = settings(
    max_examples=20, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Any:
    place = tmp_path_factory.mktemp("gallery")
    root = Root(str(place / "root"))
    made_up.publish(root, place / "source")
    return schemathesis.openapi.from_asgi(OPENAPI, application(Runs(root), ["testserver"]))


OPERATIONS = [
    "GET /api/users/{user_id}",
    "GET /api/users/{user_id}/recommendations",
    "GET /api/images/{image_id}",
    "GET /api/images/{image_id}/similar",
    "GET /api/search",
    "POST /api/recommendations",
    "GET /api/runs",
    "GET /api/clusters",
]


def test_these_are_all_operations(api: Any):
    assert [found.ok().label for found in api.get_all_operations()] == OPERATIONS


POSITIVE, NEGATIVE = GenerationMode.POSITIVE, GenerationMode.NEGATIVE
CASES = [(label, mode) for label in OPERATIONS for mode in (POSITIVE, NEGATIVE)]
CASES.remove(("GET /api/runs", NEGATIVE))  # it takes nothing that could be wrong


@pytest.mark.parametrize(("label", "mode"), CASES, ids=lambda value: getattr(value, "value", value))
def test_every_answer_is_as_described(api: Any, label: str, mode: GenerationMode):
    operation = api.find_operation_by_label(label)
    seen = set()

    @given(case=operation.as_strategy(generation_mode=mode))
    @LIMITS
    def check(case: schemathesis.Case) -> None:
        seen.add(case.call_and_validate(checks=CHECKS).status_code)

    check()
    assert seen <= {200, 404, 405, 409, 422}
    if mode is NEGATIVE:
        assert seen & {404, 422}
