"""Evidence: routing on 18 sets, each searched alone and all merged (docs/evidence/routing.md).

    python benchmarks/routing.py --data ../shared/data

Ten sets have experts, eight are unseen: the library holds no pair of theirs, but for one variant
that is given their dev labels and says so. The libraries are kept in build/evidence/ under a digest
of their data, so a second run embeds no document again. What is measured is given to evaluate() and
in no library. SPLIT=test reports test and logs it; the default is dev, which chose and flatters.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import time
from pathlib import Path
from typing import Any

import collegium
import evidence
import routing_bars
import routing_data
import routing_tables

NEGATIVES = evidence.ROOT / "examples" / "demo" / "negatives.txt"
RESAMPLES = 2000
QUERIES_OF_ADDED = 100  # of each set, where an expert is added
SEEN_AGAIN = 300  # of each seen set, where the unseen ones' dev labels are given
TENTH = "nl2bash"

Judged = dict[str, list[dict[str, object]]]


class Clock:
    """What took how long, for the page."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, float]] = []

    def time(self, what: str, work: Any) -> Any:
        start = time.monotonic()
        result = work()
        self.rows.append((what, time.monotonic() - start))
        print(f"{what}: {self.rows[-1][1]:.1f} s", flush=True)
        return result

    def total(self) -> float:
        return sum(seconds for _, seconds in self.rows)


def copy_of(library: collegium.Library, name: str) -> collegium.Library:
    """A copy made anew, so that nothing of an earlier run stays in it."""
    folder = evidence.ROOT / "build" / "evidence" / name
    if folder.exists():
        shutil.rmtree(folder)
    library.backup(folder)
    return collegium.Library.open(folder)


def evaluate(library: collegium.Library, judged: Judged, seed: int) -> collegium.Evaluation:
    return library.evaluate(judged=judged, seed=seed, resamples=RESAMPLES, worst=0)


def add_the_tenth(
    library: collegium.Library,
    sets: dict[str, routing_data.RoutingSet],
    judged: Judged,
    seed: int,
    clock: Clock,
) -> tuple[collegium.FitReport, collegium.Evaluation]:
    """The library without the tenth set is fitted; then the set is added, and it is fitted on."""
    subset = sets[TENTH]
    with copy_of(library, "routing18-added") as nine:
        nine.remove(TENTH, [document.id for document in subset.documents])
        clock.time(
            "fit on nine (their experts are kept: they depend on nothing else)",
            lambda: nine.fit(seed=seed, multi_task=False),
        )
        nine.set_lexical(TENTH, stemmer="english", stop_words="english")
        clock.time(
            f"add {TENTH}: embed",
            lambda: nine.add(
                TENTH,
                routing_data.documents_of(subset),
                pairs=routing_data.pairs_of(subset, ("train", "dev")),
            ),
        )
        fit = clock.time(f"add {TENTH}: fit", lambda: nine.fit(seed=seed, multi_task=False))
        evaluation = clock.time(
            f"add {TENTH}: evaluate {QUERIES_OF_ADDED} queries a set",
            lambda: evaluate(nine, judged, seed),
        )
    return fit, evaluation


def label_the_unseen(
    library: collegium.Library,
    sets: dict[str, routing_data.RoutingSet],
    unseen: list[str],
    judged: Judged,
    seed: int,
    clock: Clock,
) -> tuple[collegium.FitReport, collegium.Evaluation]:
    """The library with the unseen sets' dev labels; it has no training labels of theirs still."""
    with copy_of(library, "routing18-labelled") as labelled:
        for name in unseen:
            labelled.add(name, [], pairs=routing_data.pairs_of(sets[name], ("dev",)))
        fit = clock.time(
            "fit with the unseen sets' dev labels (experts kept, three routers)",
            lambda: labelled.fit(seed=seed, multi_task=False),
        )
        evaluation = clock.time(
            f"evaluate it, at most {SEEN_AGAIN} queries of a seen set",
            lambda: evaluate(labelled, judged, seed),
        )
    return fit, evaluation


class Page:
    """docs/evidence/routing.md, written anew whenever there is more to say."""

    def __init__(self, run: routing_tables.Run, clock: Clock, small: bool, kept: bool) -> None:
        self.run, self.clock, self.small, self.kept = run, clock, small, kept
        self.passages, self.embedding = 0, 0.0
        self.fits: list[tuple[str, str]] = []
        self._opened = run.split == "test"

    def write(self) -> None:
        run, total = self.run, self.clock.total()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        choices = [
            line
            for title, choice in self.fits
            for line in (title, "", "```", choice.rstrip(), "```", "")
        ]
        text = "\n".join(
            [
                evidence.header("Routing on 18 sets", "make evidence-routing", str(run.seed)),
                f"Split: **{run.split}**, {run.main.evaluation.note}. Whole corpora, "
                f"{self.passages:,} passages; encoder all-MiniLM-L6-v2 in bf16, vectors frozen; "
                "English stems and stop words. Figures x 100. Ten sets have experts (*seen*). The "
                "library holds no pair of the other eight (*unseen*) unless a table says "
                "*dev labels*.",
                "",
                *routing_bars.lines(run, self.seconds()),
                "",
                *routing_tables.lines(run),
                "",
                "## What fit chose",
                "",
                *choices,
                "## Time",
                "",
                "| what | seconds |",
                "|---|--:|",
                *(f"| {what} | {seconds:.0f} |" for what, seconds in self.clock.rows),
                f"| all that, from kept vectors | {total:.0f} |",
                "| opening the library, or making it and embedding what is not there | "
                f"{self.embedding:.0f} |",
                "",
                f"Most memory: {peak:,.0f} MB.",
            ]
        )
        if self.small:
            print(text, flush=True)
            return
        evidence.write("routing", text, opened_test=self._opened)
        self._opened = False
        print("\n".join(routing_bars.lines(run, self.seconds())), flush=True)

    def seconds(self) -> float | None:
        """Of all fits and evaluations; None where they are not whole."""
        return None if self.kept else self.clock.total()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=os.environ.get("COLLEGIUM_DATA"))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--embed", action="store_true", help="make the library, and no more")
    parser.add_argument("--kept", action="store_true", help="keep what an earlier run fitted")
    parser.add_argument("--queries", type=int, default=None, help="of a set, evenly spread")
    parser.add_argument("--no-added", action="store_true", help="leave out the added expert")
    parser.add_argument("--no-labelled", action="store_true", help="leave out their dev labels")
    parser.add_argument(
        "--small", type=int, default=None, help="documents a set, to try the script"
    )
    parser.add_argument("--sets", nargs="+", default=None, help="with --small: these sets alone")
    arguments = parser.parse_args()
    if not arguments.data or not Path(arguments.data).is_dir():
        raise SystemExit("--data: a folder of BEIR folders is needed (or COLLEGIUM_DATA)")
    data, seed, split = Path(arguments.data), arguments.seed, evidence.split()
    names = arguments.sets or [*routing_data.SEEN, *routing_data.UNSEEN]
    sets = {name: routing_data.load_whole(data, name, arguments.small) for name in sorted(names)}
    seen = [name for name in sets if name in routing_data.SEEN]
    unseen = [name for name in sets if name in routing_data.UNSEEN]
    clock = Clock()

    def judged(most_seen: int | None, most_unseen: int | None) -> Judged:
        most = {name: most_seen if name in seen else most_unseen for name in sets}
        return {name: routing_data.judged_of(sets[name], split, most[name]) for name in sets}

    collections = {
        name: (
            routing_data.documents_of(subset),
            routing_data.pairs_of(subset, ("train", "dev") if name in seen else ()),
        )
        for name, subset in sets.items()
    }
    negatives = NEGATIVES.read_text(encoding="utf-8").splitlines()
    start = time.monotonic()
    library = evidence.library_of("routing18", collections, negatives, compute="bf16", english=True)
    embedding = time.monotonic() - start
    if arguments.embed:
        library.close()
        return
    most = arguments.queries
    with library:
        fit = clock.time(
            "fit: ten experts, multi-task, all routers, policies, words, ranker"
            + (" (experts of an earlier run are kept)" if arguments.kept else ""),
            lambda: library.fit(seed=seed, refit=not arguments.kept, router="all"),
        )
        print(fit, flush=True)
        first = clock.time("evaluate", lambda: evaluate(library, judged(most, most), seed))
        run = routing_tables.Run(
            split=split,
            seen=seen,
            unseen=unseen,
            seed=seed,
            resamples=RESAMPLES,
            main=routing_tables.Figures(first),
            labelled=None,
            added=None,
            tenth=TENTH,
        )
        page = Page(run, clock, arguments.small is not None, arguments.kept)
        page.passages = sum(one.passages for one in library.info().collections)
        page.embedding = embedding
        page.fits.append(("", str(fit)))
        page.write()
        if unseen and not arguments.no_labelled:
            fewer = judged(min(SEEN_AGAIN, most or SEEN_AGAIN), most)
            fit, again = label_the_unseen(library, sets, unseen, fewer, seed, clock)
            run.labelled = routing_tables.Figures(again)
            page.fits.append(("With the unseen sets' dev labels:", str(fit)))
            page.write()
        if TENTH in sets and not arguments.no_added:
            few = judged(QUERIES_OF_ADDED, QUERIES_OF_ADDED)
            fit, again = add_the_tenth(library, sets, few, seed, clock)
            run.added = routing_tables.Figures(again)
            page.fits.append((f"{TENTH} added to nine:", str(fit)))
            page.write()


if __name__ == "__main__":
    main()
