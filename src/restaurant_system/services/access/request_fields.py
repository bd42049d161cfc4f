"""Fields that bodies of several handlers of access control have."""

from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, PlainSerializer, StringConstraints

from restaurant_system.models.access import MAX_NAME_LENGTH, clean_name
from restaurant_system.models.clock import rfc_3339

Name = Annotated[
    str, StringConstraints(min_length=1, max_length=MAX_NAME_LENGTH), AfterValidator(clean_name)
]
Time = Annotated[datetime, PlainSerializer(rfc_3339, when_used="json")]
