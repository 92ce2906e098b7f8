"""One job for one day as a whole process: `python -m benchmarks.run_job MODULE JOB DAY`.

What `dagster job execute` does, without the imports of its command line: the job with the executor that its code
location has, on the instance of DAGSTER_HOME. MODULE holds `defs`.
"""

from __future__ import annotations

import sys


def main(module: str, job: str, day: str) -> None:
    import dagster as dg
    from dagster._core.definitions.reconstruct import ReconstructableRepository

    found = ReconstructableRepository.for_module(module, "defs").get_reconstructable_job(job)
    with dg.DagsterInstance.get() as instance:
        result = dg.execute_job(found, instance, tags={"dagster/partition": day})
        if not result.success:
            sys.exit(f"{job} of {day} failed; see run {result.run_id}")


if __name__ == "__main__":
    main(*sys.argv[1:])
