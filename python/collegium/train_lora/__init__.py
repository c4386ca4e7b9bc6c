"""LoRA experts trained the way of RouterRetriever (arXiv 2409.02685): the query side alone.

Needs torch: ``pip install 'collegium[train]'``. The corpus is frozen: its vectors are those of the
library, so an expert costs no second pass over the documents. What is written is a folder in PEFT's
format, which :class:`collegium.LoraAdapter` loads as it is.

Example::

    report = collegium.train_lora.train(library, "law", "law-lora")
    print(report)
    if report.strength > 0:
        experts = collegium.ExpertSet(library.encoder)
        experts.set_lora("law", collegium.LoraAdapter.load("law-lora", library.encoder))
"""

from .options import LoraOptions, LoraReport
from .training import train

__all__ = ["LoraOptions", "LoraReport", "train"]
