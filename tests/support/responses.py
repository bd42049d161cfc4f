"""Check HTTP error responses."""

import httpx

from restaurant_system.error_texts import PROBLEM_CODES


def assert_problem(response: httpx.Response, status: int) -> None:
    """Assert that a response is a problem document with the request id and a code."""
    assert response.status_code == status, response.text
    assert response.headers["Content-Type"] == "application/problem+json"
    problem = response.json()
    assert problem["status"] == status
    assert problem["title"]
    assert problem["detail"]
    assert {*problem.get("params", {})} == {*PROBLEM_CODES[problem["code"]]}
    assert problem["request_id"] == response.headers["X-Request-ID"]


def invalid_fields(response: httpx.Response) -> list[str]:
    """Return the fields in the errors of a response; each must have a message."""
    faults = response.json().get("errors", [])
    assert all(fault["message"] for fault in faults)
    return [fault["field"] for fault in faults]
