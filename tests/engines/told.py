"""Workers that do nothing but say where they are, or end as a test wants them to."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from harness.engines.jobs import Job
from harness.engines.worker import Worker


class Told(Worker):
    """Does what a job's label says, and gives its process, place and environment (as it was when it started)."""

    def do(self, job: Job) -> None:
        if job.label == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if job.label == "exits":
            raise SystemExit(7)
        if job.label.startswith("until "):
            self.say(event="stage", id=job.id, stage="waiting")
            while not Path(job.label.removeprefix("until ")).exists():
                time.sleep(0.05)
        pairs = [item.split("=", 1) for item in Path("/proc/self/environ").read_text().split("\0") if "=" in item]
        started_with = dict(pairs)
        self.say(event="stage", id=job.id, stage="told")
        given = {"process": os.getpid(), "place": self.place, "started_with": started_with}
        self.say(event="done", id=job.id, data=given | {"gpus": os.environ.get("CUDA_VISIBLE_DEVICES", "")})
