"""What keeps a library well: copies, damage, repair, room, indexes, how words are found."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Literal

from . import _core, models
from ._core import BackupReport, LexicalSettings, RepairReport, TuneReport, VerifyReport
from .errors import InvalidArgumentError, NotFoundError

IndexKind = Literal["auto", "exact", "hnsw", "ivf"]
PathLike = str | os.PathLike[str]


class LibraryOperations:
    """The part of :class:`collegium.Library` that is about its files and settings."""

    _core: _core.Library

    def set_lexical(
        self,
        collection: str,
        *,
        stemmer: str | None = None,
        stop_words: Literal["english"] | Iterable[str] | None = None,
        k1: float | None = None,
        b: float | None = None,
        fold_accents: bool | None = None,
        split_names: bool | None = None,
    ) -> LexicalSettings:
        """How the words (BM25) of ``collection``, made if new, are found and scored.

        Set it before the first documents: with passages there, only ``k1`` and ``b`` can change.
        :meth:`fit` then chooses anew how much words count beside vectors. What is None stays.

        Args:
            stemmer: Snowball's for a language ("english", "german", ...; see
                ``LexicalSettings.stemmers()``), so that "runners" finds "runner"; "" for none,
                which is what a new collection has.
            stop_words: words left out, in any case; "english": a list of 33; () for none.
            k1: how much a word counts for being there often, 0 to 1000.
            b: how much long passages are held back, 0 to 1.
            fold_accents: "cafe" finds "café".
            split_names: a snake_case or camelCase name is found whole and by its parts.

        Returns:
            All the settings, as they are now.

        Raises:
            InvalidArgumentError: there is no such stemmer, or a value is out of range.
            FailedPreconditionError: other words would be found, and there are passages.
        """
        try:
            now = self._core.lexical_settings(collection)
        except NotFoundError:
            now = LexicalSettings()
        if stop_words is None:
            stop_words = now.stop_words
        elif stop_words == "english":
            stop_words = LexicalSettings.english_stop_words()
        elif isinstance(stop_words, str):
            raise InvalidArgumentError(
                f"stop_words is {stop_words[:40]!r}, expected 'english' or several words"
            )
        settings = LexicalSettings(
            k1=now.k1 if k1 is None else k1,
            b=now.b if b is None else b,
            stemmer=now.stemmer if stemmer is None else stemmer,
            stop_words=list(stop_words),
            fold_accents=now.fold_accents if fold_accents is None else fold_accents,
            split_names=now.split_names if split_names is None else split_names,
        )
        self._core.set_lexical(collection, settings)
        return self._core.lexical_settings(collection)

    def lexical_settings(self, collection: str) -> LexicalSettings:
        """How its words are found and scored.

        Raises:
            NotFoundError: no such collection.
        """
        return self._core.lexical_settings(collection)

    def backup(self, folder: PathLike) -> BackupReport:
        """Copies the library as of one commit to the new ``folder``, while it is being read.

        The copy has the documents, what was learned, and copied models (linked ones stay links);
        it was read back when this returns, and :meth:`open` opens it. On failure nothing is left.

        Raises:
            AlreadyExistsError: there is something in ``folder``.
            CorruptionError: a model or learned file of this library is damaged.
            ResourceExhaustedError: the disk is full.
        """
        return self._core.backup(folder)

    def verify(self) -> VerifyReport:
        """Reads everything again: store, indexes, models, pairs and what was learned.

        What is wrong is in the report's ``findings``; ``ok`` when there are none. Changes nothing.
        Of a library that does not open: :func:`collegium.verify_folder`.
        """
        return self._core.verify()

    def tune(
        self,
        collection: str,
        *,
        kind: IndexKind = "auto",
        target_recall: float = 0.99,
        k: int = 10,
        questions: Sequence[str] = (),
        num_samples: int = 200,
    ) -> TuneReport:
        """Chooses a collection's index, and how hard it searches, by measured recall.

        Builds the index, compares what it finds with exact search, and records the least effort
        that reaches the target, with the reason (``info().collections[...].index_reason``). Every
        search without a ``breadth`` or ``probes`` of its own has this effort from then on.

        Args:
            kind: "exact"; "hnsw", a graph; "ivf", lists; or "auto": "hnsw" for collections of more
                than ``hnsw_threshold`` passages, else "exact".
            target_recall: mean share of the ``k`` best passages to find, above 0, up to 1.
            questions: what to measure with, as users ask. Without them ``num_samples`` of the
                collection's passages, perturbed.

        Raises:
            NotFoundError: there is no such collection.
            InvalidArgumentError: a kind that is none, or a number out of range.

        Example:
            >>> library.tune("law", target_recall=0.95, questions=["Who owns the sea bed?"])
        """
        return self._core.tune(
            collection,
            kind=kind,
            target_recall=target_recall,
            k=k,
            questions=questions if isinstance(questions, (str, bytes)) else list(questions),
            num_samples=num_samples,
        )

    def compact(self) -> None:
        """Gives back the room of what was replaced or removed, while it is read and written."""
        self._core.compact()

    def purge(self) -> None:
        """Rewrites the library's files so that what was replaced or removed is in none of them.

        Backups keep what they have, and so do readers who opened the library before. What
        :meth:`fit` learned changes only with the next :meth:`fit`. Other calls wait.
        """
        self._core.purge()

    def export(self, collection: str, path: PathLike) -> int:
        """Writes a collection's documents to the file ``path``, one JSON object a line.

        They have ``_id``, ``title``, ``text`` and ``metadata``, by ascending id. A file that is
        there is replaced, in one step. Returns their number.

        Raises:
            NotFoundError: no such collection, or no folder for the file.
        """
        return self._core.export(collection, path)

    def reopen(self) -> None:
        """Reads the files anew: to write again after a failed write (a full disk), or, opened with
        ``read_only``, to see what was written since."""
        self._core.reopen()

    @staticmethod
    def repair(folder: PathLike, to: PathLike) -> RepairReport:
        """:func:`collegium.repair`."""
        return repair(folder, to)


def repair(folder: PathLike, to: PathLike) -> RepairReport:
    """Saves what can still be read of the damaged library in ``folder`` into a new one in ``to``.

    Nothing is made up, and nothing in ``folder`` changes. ``report.dropped`` names every document,
    pair, model and learned file that could not be saved. Without a copied encoder that can be
    read, ``Library.open(to, encoder=...)`` needs a good copy of it; where what was learned is
    dropped, :meth:`Library.fit` learns anew.

    Raises:
        NotFoundError: there is no library in ``folder``.
        BusyError: a process has it open.
        AlreadyExistsError: there is something in ``to``.
        CorruptionError: too little can be read to make a library of; only a backup helps.
    """
    return _core.Library.repair(folder, to)


def verify_folder(
    folder: PathLike, *, encoder: PathLike | None = None, language_model: PathLike | None = None
) -> VerifyReport:
    """:meth:`Library.verify` of a library that need not open, whoever holds it.

    Args:
        encoder, language_model: where a linked model is now, if it moved.

    Raises:
        NotFoundError: there is no library in ``folder``.
    """
    return _core.Library.verify_folder(
        folder,
        encoder="" if encoder is None else models.find_encoder(encoder),
        language_model="" if language_model is None else models.find_language_model(language_model),
    )
