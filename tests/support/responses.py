"""What every answer over HTTP promises."""

import httpx


def assert_problem(response: httpx.Response, status: int) -> None:
    """Hold an answer to what every error promises: a problem document with the request's id."""
    assert response.status_code == status, response.text
    assert response.headers["Content-Type"] == "application/problem+json"
    problem = response.json()
    assert problem["status"] == status
    assert problem["title"]
    assert problem["detail"]
    assert problem["request_id"] == response.headers["X-Request-ID"]


def invalid_fields(response: httpx.Response) -> list[str]:
    """Return the fields that a refusal names; each has a sentence."""
    faults = response.json().get("errors", [])
    assert all(fault["message"] for fault in faults)
    return [fault["field"] for fault in faults]
