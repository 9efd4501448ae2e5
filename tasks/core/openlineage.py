"""A chain of stages as events of OpenLineage (openlineage.io), which lineage catalogues read (Marquez, DataHub).

A stage is a job, its entry in dvc.lock a run, and its dependencies and outputs are datasets whose version is their MD5.
What a stage read out of another's output folder is told as that folder, so that the two meet in a catalogue's graph.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from graphlib import TopologicalSorter
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import attr
from openlineage.client import event_v2 as ol
from openlineage.client.generated.base import InputDatasetFacet, JobFacet, RunFacet
from openlineage.client.generated.dataset_version_dataset import DatasetVersionDatasetFacet
from openlineage.client.generated.execution_parameters_run import ExecutionParameter, ExecutionParametersRunFacet
from openlineage.client.generated.job_type_job import JobTypeJobFacet
from openlineage.client.generated.source_code_job import SourceCodeJobFacet
from openlineage.client.generated.tags_run import TagsRunFacet, TagsRunFacetFields
from openlineage.client.serde import Serde

from tasks.core.lineage import Link, covers

PRODUCER = "urn:video-r1-pipeline"


@attr.define
class ReportRunFacet(RunFacet):
    """Counts and figures that a stage reported: rows by filter rule, rows skipped, losses."""

    figures: Mapping[str, Any]

    @staticmethod
    def _get_schema() -> str:
        return f"{PRODUCER}:facets:1:report"


@attr.define
class ReaderRunFacet(RunFacet):
    """Where the lineage was read, which need not be where the stage ran."""

    packages: Mapping[str, str]
    machine: Mapping[str, str]

    @staticmethod
    def _get_schema() -> str:
        return f"{PRODUCER}:facets:1:reader"


@attr.define
class PartsInputDatasetFacet(InputDatasetFacet):
    """Which files or folders of a dataset a stage read: path -> MD5."""

    parts: Mapping[str, str]

    @staticmethod
    def _get_schema() -> str:
        return f"{PRODUCER}:facets:1:parts"


def events(
    links: Sequence[Link],
    commit: str,
    counts: Mapping[str, Mapping[str, Any]],
    reader: Mapping[str, Mapping[str, str]],
    at: datetime,
    namespace: str,
) -> list[dict[str, Any]]:
    """Two events a stage, START and COMPLETE, raw data first.

    Args:
        links: `tasks.core.lineage.chain`.
        commit: of the code.
        counts: stage -> its report.
        reader: `packages` and `machine` of where this is read.
        at: time of every event; dvc.lock keeps no times.
        namespace: of jobs and datasets in the catalogue.

    Returns:
        JSON objects. The same chain has the same run ids, whenever and wherever it is read.
    """
    made = {path: md5 for link in links for path, md5 in link.outs.items()}
    told: list[dict[str, Any]] = []
    for link in upstream_first(links):
        run_id = str(uuid5(NAMESPACE_URL, json.dumps([namespace, link.stage, link.inputs, link.outs], sort_keys=True)))
        start = ol.RunEvent(
            eventType=ol.RunState.START,
            eventTime=at.isoformat(),
            run=ol.Run(run_id),
            job=ol.Job(namespace, link.stage),
            producer=PRODUCER,
        )
        complete = ol.RunEvent(
            eventType=ol.RunState.COMPLETE,
            eventTime=at.isoformat(),
            run=ol.Run(run_id, _run_facets(link, commit, counts.get(link.stage, {}), reader)),
            job=ol.Job(namespace, link.stage, _job_facets(link)),
            inputs=_inputs(link, made, namespace),
            outputs=[_output(namespace, path, md5) for path, md5 in link.outs.items()],
            producer=PRODUCER,
        )
        told += [Serde.to_dict(start), Serde.to_dict(complete)]
        if report := counts.get(link.stage):
            told[-1]["run"]["facets"]["videoR1_report"]["figures"] = dict(report)  # Serde leaves out what is null
    return told


def upstream_first(links: Sequence[Link]) -> list[Link]:
    """Links of a chain, each after those that made what it read."""
    by_stage = {link.stage: link for link in links}
    upstream = {
        link.stage: {
            other.stage for other in links if other is not link and any(_meet(out, link.deps) for out in other.outs)
        }
        for link in links
    }
    return [by_stage[stage] for stage in TopologicalSorter(upstream).static_order()]


def _meet(out: str, paths: Iterable[str]) -> bool:
    """Whether an output holds one of the paths or lies in one."""
    return any(covers(out, path) or covers(path, out) for path in paths)


def _run_facets(
    link: Link, commit: str, report: Mapping[str, Any], reader: Mapping[str, Mapping[str, str]]
) -> dict[str, RunFacet]:
    params = [
        ExecutionParameter(key=name, value=json.dumps(value, ensure_ascii=False, default=str))
        for name, value in link.params.items()
    ]
    facets: dict[str, RunFacet] = {
        "executionParameters": ExecutionParametersRunFacet(params, producer=PRODUCER),
        "tags": TagsRunFacet([TagsRunFacetFields("git_commit", commit, PRODUCER)], producer=PRODUCER),
        "videoR1_reader": ReaderRunFacet(reader["packages"], reader["machine"], producer=PRODUCER),
    }
    if report:
        facets["videoR1_report"] = ReportRunFacet(report, producer=PRODUCER)
    return facets


def _job_facets(link: Link) -> dict[str, JobFacet]:
    return {
        "jobType": JobTypeJobFacet("BATCH", "DVC", "COMMAND", producer=PRODUCER),
        "sourceCode": SourceCodeJobFacet("shell", link.cmd, producer=PRODUCER),
    }


def _inputs(link: Link, made: Mapping[str, str], namespace: str) -> list[ol.InputDataset]:
    """What a stage read, by the outputs of the chain that hold it or lie in it."""
    parts: dict[str, dict[str, str]] = {}
    for path, md5 in link.deps.items():
        holders = [out for out in made if _meet(out, [path])]
        for name in holders or [path]:
            parts.setdefault(name, {})[path] = md5
    return [
        ol.InputDataset(
            namespace,
            name,
            facets=_version(made.get(name) or read[name]),
            inputFacets={"videoR1_parts": PartsInputDatasetFacet(read, producer=PRODUCER)},
        )
        for name, read in parts.items()
    ]


def _output(namespace: str, path: str, md5: str) -> ol.OutputDataset:
    return ol.OutputDataset(namespace, path, facets=_version(md5))


def _version(md5: str) -> dict[str, Any]:
    return {"version": DatasetVersionDatasetFacet(md5, producer=PRODUCER)} if md5 else {}
