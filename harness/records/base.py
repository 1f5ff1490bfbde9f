"""The base of all records."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

SCHEMA_VERSION = 1  # of every document of `--json`


class Data(BaseModel):
    """Base of all records that steps write."""

    model_config = ConfigDict(extra="forbid", ser_json_inf_nan="null")
