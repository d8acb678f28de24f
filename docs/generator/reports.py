"""Stored reports as pages, and the pages that lead to them: speed, the zoo's results, papers beside measurements."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from docs.generator.text import RESULTS, below

PICTURE = re.compile(r"!\[[^\]]*\]\(([^)]+)\)")


@dataclass(frozen=True)
class Expected:
    """A report that there is, or will be.

    Attributes:
        title: What it is, for people.
        path: Below `benchmarks/results`, without the ending `.md`.
        command: What makes it.
    """

    title: str
    path: str
    command: str


SPEED = (
    Expected("Steps of the environments", "speed/environments", "python -m benchmarks.speed"),
    Expected("Steps while learning", "speed/learners", "python -m benchmarks.speed --learners"),
    Expected("Live evaluation", "speed/live-cifar10-resnet20", "python -m benchmarks.speed --live"),
    Expected(
        "Costs of ResNet-20",
        "speed/costs-cifar10-resnet20",
        "python -m benchmarks.speed --costs --device epyc-milan-ort-fp32",
    ),
    Expected(
        "Costs of ResNet-56",
        "speed/costs-cifar10-resnet56",
        "python -m benchmarks.speed --costs --task cifar10-resnet56 --device epyc-milan-ort-fp32",
    ),
    Expected(
        "Exported files",
        "exported/digits-cnn",
        "python -m benchmarks.exported digits-cnn --device epyc-milan-ort-int8",
    ),
    Expected(
        "Equal bits, ResNet-20",
        "quantised/cifar10-resnet20",
        "python -m benchmarks.quantised cifar10-resnet20 --bits 8 --bits 4",
    ),
    Expected(
        "Equal bits, Plain-20",
        "quantised/cifar10-plain20",
        "python -m benchmarks.quantised cifar10-plain20 --bits 8 --bits 4",
    ),
    Expected(
        "Equal bits, ResNet-56",
        "quantised/cifar10-resnet56",
        "python -m benchmarks.quantised cifar10-resnet56 --bits 8 --epochs 0",
    ),
)
ZOO = (
    Expected("Quick suite", "search/quick", "python -m benchmarks.search --suite quick --workers 2"),
    Expected("Standard suite", "search/standard", "python -m benchmarks.search --suite standard --workers 2"),
    Expected("Networks never seen", "search/generalisation", "python -m benchmarks.search.generalisation"),
)
_RESNET20 = " --task cifar10-resnet20"
_OF_BITS = (
    ("HAQ", "haq", "bitfusion", "digits-cnn", ""),
    ("HAQ", "haq", "bitfusion", "cifar10-resnet20", _RESNET20),
    ("HAQ, bits 4 to 6,", "haq", "bismo-edge", "cifar10-resnet20", f"{_RESNET20} --device bismo-edge"),
    ("Galen", "galen", "bismo-edge-latency_ms", "digits-cnn", ""),
    ("Galen", "galen", "bismo-edge-latency_ms", "cifar10-resnet20", _RESNET20),
    ("Galen, bit operations,", "galen", "bismo-edge-bops", "cifar10-resnet20", f"{_RESNET20} --cost bops"),
    ("APQ", "apq", "bitfusion", "digits-cnn", ""),
    ("APQ", "apq", "bitfusion", "cifar10-resnet20", f"{_RESNET20} --latency 0.8 --energy 0.6"),
)
PAPERS = (
    Expected("AMC on Plain-20", "papers/amc-cifar10-plain20", "python -m benchmarks.papers amc --task cifar10-plain20"),
    Expected(
        "AMC on ResNet-56", "papers/amc-cifar10-resnet56", "python -m benchmarks.papers amc --task cifar10-resnet56"
    ),
    *(
        Expected(f"{title} on {task}", f"papers/{name}-{task}-{rest}", f"python -m benchmarks.papers {name}{options}")
        for title, name, rest, task, options in _OF_BITS
    ),
    Expected("HAT's search", "papers/hat-multi30k-ende", "python -m benchmarks.papers hat"),
    Expected("HAT's latency predictor", "papers/hat-latency", "python -m benchmarks.papers hat-latency FOLDER"),
)


def missing(command: str) -> str:
    """Says that there is no result, and what makes it."""
    return f"**Not yet measured.** `{command}` measures it."


def reports_page(title: str, words: str, expected: tuple[Expected, ...], results: Path = RESULTS) -> str:
    """Writes a page that holds every expected report which is there, and names those which are not.

    Args:
        title: The page's heading.
        words: What is reported, for people.
        expected: The reports.
        results: Folder of the stored results.
    """
    parts = [f"# {title}", words]
    for report in expected:
        parts.append(f"## {report.title}")
        path = results / f"{report.path}.md"
        parts.append(_embedded(path, report) if path.exists() else missing(report.command))
    return "\n\n".join(parts) + "\n"


def stored_reports(results: Path = RESULTS) -> dict[str, str | bytes]:
    """Returns every stored report and picture under the path that it has in the repository."""
    pages: dict[str, str | bytes] = {}
    for path in sorted(results.rglob("*")):
        name = f"benchmarks/results/{path.relative_to(results).as_posix()}"
        if path.suffix == ".md":
            pages[name] = path.read_text(encoding="utf-8")
        elif path.suffix == ".png":
            pages[name] = path.read_bytes()
    return pages


def _embedded(path: Path, report: Expected) -> str:
    """Returns a report without its own title, one level lower, its pictures found from where the page is."""
    text = re.sub(r"\A#+ .*\n", "", path.read_text(encoding="utf-8"))
    folder = f"../benchmarks/results/{Path(report.path).parent}"
    text = PICTURE.sub(lambda found: found[0].replace(f"({found[1]})", f"({folder}/{found[1]})"), below(text).strip())
    picture = path.with_suffix(".png")
    if picture.exists() and picture.name not in text:
        text += f"\n\n![{report.title}]({folder}/{picture.name})"
    return text
