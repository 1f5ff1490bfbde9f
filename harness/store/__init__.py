"""The store of finished steps, which are found by key and by nothing else.

``<store>/<kind>/<readable-name>-<key>/`` holds a finished artifact. Its ``record.json`` is written last and the folder
is published by a rename, so an artifact is either whole or absent. Work in progress is in ``<store>/work/<key>/``;
several attempts at one key may run at once, and the first rename wins. Locks only save duplicate work.

A record holds the digest of every file beside it and a seal over itself. The seal is checked whenever a record is
read, a file's digest before the file is used (``Artifact.checked``), and all digests by ``maintenance.verify``.
"""

from harness.store.artifact import Artifact, Attempt, Step
from harness.store.local import LOCKS, WORK, Store
from harness.store.places import artifact_in, located

__all__ = ["LOCKS", "WORK", "Artifact", "Attempt", "Step", "Store", "artifact_in", "located"]
