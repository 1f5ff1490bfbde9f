"""``harness schema``: the JSON Schema of a study file, for editors."""

from __future__ import annotations


def schema() -> None:
    """Print the JSON Schema of a study file: editors complete and check fields by it.

    Save it beside a study ([b]harness schema > study.schema.json[/b]) and let the study begin with
    [b]# yaml-language-server: $schema=study.schema.json[/b]. What [b]harness init[/b] writes has both.
    """
    from harness.cli.arguments import print_json
    from harness.loading.schema import study_schema

    print_json(study_schema())
