"""`python -m leaderboard`: submit, submit-all, verify, build, schema."""

from __future__ import annotations

import itertools
import json
import shlex
import sys
from functools import partial
from pathlib import Path

import click
from rich.console import Console
from rich.progress import track as track_progress

from compress_gym.support.cards import write_atomically
from compress_gym.support.commands import run_command
from compress_gym.support.errors import missing_extra

try:
    import jinja2  # noqa: F401
except ModuleNotFoundError as missing:
    click.echo(f"leaderboard: error: {missing_extra(str(missing.name), 'leaderboard', 'the leaderboard')}", err=True)
    sys.exit(2)

from leaderboard.records import write_record
from leaderboard.replay import Replay, replay, seed_complaints
from leaderboard.schema import SCHEMA, json_schema
from leaderboard.tracks import FOLDER, TRACKS, load_tracks
from leaderboard.verdicts import Verdict, worst

SUBMISSIONS, RECORDS, SITE = FOLDER / "submissions", FOLDER / "verified", FOLDER / "site"
_folder = click.Path(file_okay=False, path_type=Path)
tracks_option = click.option(
    "--tracks",
    "tracks_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    default=TRACKS,
    help="File of tracks [default: leaderboard/tracks.toml].",
)


@click.group()
def cli() -> None:
    """A leaderboard that replays what it ranks; leaderboard/TEMPLATE.md explains how to submit."""


@cli.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--name", help="Of the file: a-z, 0-9 and dashes [default: the method].")
@click.option("--track", help="Name of the track [default: the one that fits the runs].")
@click.option("--author", "authors", multiple=True, required=True, help="May be given several times.")
@click.option("--method-version", help="Of the method's code [default: that of compress_gym].")
@click.option("--link", help="https address of the open source.")
@click.option("--trained-on", multiple=True, help="A task that was seen beyond the counted evaluations.")
@click.option("--tried", multiple=True, metavar="PARAMETER=RANGE", help="What was tried for a parameter.")
@click.option("--deterministic", is_flag=True, help="The seed has no influence.")
@click.option("--modified-source", is_flag=True, help="compress_gym itself was changed.")
@click.option("--submissions", type=_folder, default=SUBMISSIONS, help="[default: leaderboard/submissions]")
@tracks_option
def submit(
    runs: tuple[Path, ...],
    name: str | None,
    track: str | None,
    authors: tuple[str, ...],
    method_version: str | None,
    link: str | None,
    trained_on: tuple[str, ...],
    tried: tuple[str, ...],
    deterministic: bool,
    modified_source: bool,
    submissions: Path,
    tracks_file: Path,
) -> None:
    """Writes a submission from run folders RUNS, one for each task and seed of a track."""
    from agents.runs import read_config
    from leaderboard.submit import submission_of, write_submission

    tracks = load_tracks(tracks_file)
    if track is not None:
        if track not in tracks:
            raise click.BadParameter(f"{track!r} is not known; known: {', '.join(tracks)}", param_hint="--track")
        tracks = {track: tracks[track]}
    submission = submission_of(
        runs,
        tracks,
        name or str(read_config(runs[0])["method"]),
        authors=authors,
        link=link,
        modified_source=modified_source,
        deterministic=deterministic,
        trained_on=trained_on,
        ranges_tried=dict(_pair(text) for text in tried),
        **({} if method_version is None else {"version": method_version}),
    )
    for complaint in itertools.chain(*seed_complaints(submission, tracks[submission.track])):
        click.echo(f"warning: {complaint}; verifying will refuse the file", err=True)
    path = write_submission(submission, submissions)
    click.echo(f"written to {path}; check it with: python -m leaderboard verify {shlex.quote(str(path))}")


@cli.command("submit-all")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--submissions", type=_folder, default=SUBMISSIONS, help="[default: leaderboard/submissions]")
@tracks_option
def submit_all(file: Path, submissions: Path, tracks_file: Path) -> None:
    """Writes the submissions that FILE describes anew, and says which of them are new or changed.

    `python -m benchmarks.search.entries` makes such a file of the standard suite's runs.
    """
    from leaderboard.submit import described_submissions, write_submission

    made = described_submissions(file, load_tracks(tracks_file))
    for submission in track_progress(made, "entries", console=Console(stderr=True)):
        path = submissions / submission.track / f"{submission.name}.json"
        before = path.read_bytes() if path.exists() else None
        write_submission(submission, submissions, replace=True)
        if path.read_bytes() != before:
            word = "new" if before is None else "changed"
            click.echo(f"{word}; verify it: python -m leaderboard verify --live --record {shlex.quote(str(path))}")


def _pair(text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not separator:
        raise click.BadParameter(f"{text!r} must have the form PARAMETER=RANGE", param_hint="--tried")
    return name, value


@cli.command(epilog=f"Exit codes: {', '.join(f'{v.exit_code} {v.value}' for v in reversed(Verdict))}.")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--live", "live", is_flag=True, help="Also score every strategy on validation and test images.")
@click.option("--work", type=_folder, default=Path("runs/leaderboard"), show_default=True, help="Keeps live scores.")
@click.option("--record", is_flag=True, help="With --live: write what was scored to --records (maintainers).")
@click.option("--records", type=_folder, default=RECORDS, help="[default: leaderboard/verified]")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
@tracks_option
def verify(
    files: tuple[Path, ...], live: bool, work: Path, record: bool, records: Path, as_json: bool, tracks_file: Path
) -> int:
    """Replays submissions FILES; the exit code is that of the worst verdict."""
    if record and not live:
        raise click.UsageError("--record writes live scores; give --live too")
    tracks, replays = load_tracks(tracks_file), []
    scores = None
    if live:
        try:
            from leaderboard.live import StoredScores
        except ModuleNotFoundError as error:
            raise missing_extra(str(error.name), "live", "scoring strategies live") from error
        scores = StoredScores(work)
    for file in files:
        replayed = replay(file, tracks, scores)
        if record and replayed.verdict.exit_code == 0:
            write_record(records, replayed)
        replays.append(replayed)
        if not as_json:
            _tell(replayed)
    if as_json:
        shown = [{"file": str(r.path), "verdict": r.verdict.value, "reasons": r.reasons} for r in replays]
        click.echo(json.dumps(shown, indent=2))
    return worst(r.verdict for r in replays).exit_code


def _tell(replayed: Replay) -> None:
    click.echo(f"{ascii(str(replayed.path))[1:-1]}: {replayed.verdict.value}")
    for reason in replayed.reasons:
        click.echo(f"    {reason}")


@cli.command()
@click.option("--submissions", type=click.Path(exists=True, file_okay=False, path_type=Path), default=SUBMISSIONS)
@click.option("--records", type=_folder, default=RECORDS, help="[default: leaderboard/verified]")
@click.option("--out", type=_folder, default=SITE, help="[default: leaderboard/site]")
@tracks_option
def build(submissions: Path, records: Path, out: Path, tracks_file: Path) -> None:
    """Writes the site: replays every submission, ranks what was verified live."""
    from leaderboard.site import build_site

    watch = partial(track_progress, description="replaying submissions", console=Console(stderr=True))
    written = build_site(submissions, records, load_tracks(tracks_file), out, tracks_file, watch)
    click.echo(f"{written} pages written; open {out / 'index.html'}")


@cli.command()
@click.option("--write", is_flag=True, help="Renew leaderboard/submission.schema.json.")
def schema(write: bool) -> None:
    """Prints the JSON Schema of a submission, which is generated from the code that checks it."""
    text = json_schema()
    if write:
        write_atomically(SCHEMA, lambda p: p.write_text(text))
    click.echo(text, nl=False)


def main() -> None:
    """Runs the command."""
    run_command(cli, "leaderboard")


if __name__ == "__main__":
    main()
