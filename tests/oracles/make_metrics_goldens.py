"""Writes tests/data/metrics_goldens.json: random rankings with graded judgments and what trec_eval
(through pytrec-eval-terrier) measures on them.

trec_eval breaks ties by descending id, we by ascending; so it is given ranks as scores, in our
order, computed here independently of the C++.

    python tests/oracles/make_metrics_goldens.py
"""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytrec_eval

OUT = Path(__file__).parent.parent / "data" / "metrics_goldens.json"
# trec_eval's names and ours.
MEASURES = {
    "ndcg": "ndcg",
    "ndcg_cut_10": "ndcg@10",
    "ndcg_cut_3": "ndcg@3",
    "recall_100": "recall@100",
    "recall_5": "recall@5",
    "map": "map",
    "map_cut_10": "map@10",
    "recip_rank": "mrr",
    "P_5": "precision@5",
    "P_100": "precision@100",
    "success_1": "success@1",
    "success_5": "success@5",
    "bpref": "bpref",
}


def main() -> None:
    rng = random.Random(7)
    cases = []
    for number in range(60):
        pool = [f"d{i}" for i in range(rng.choice([3, 12, 40, 150]))] + ["dé", "d-", "D1"]
        ranking = [
            # Few distinct scores, so that ties are many.
            [id_, rng.choice([rng.uniform(-1, 1), rng.randrange(4) / 4])]
            for id_ in rng.sample(pool, rng.randrange(1, len(pool) + 1))
        ]
        gains = {id_: rng.choice([1, 1, 1, 2, 3]) for id_ in pool if rng.random() < 0.2}
        gains["not-retrieved"] = 1
        if number % 3 > 0:  # judged, and not relevant: what bpref asks for
            gains.update({id_: 0 for id_ in pool if id_ not in gains and rng.random() < 0.3})
        ordered = sorted(ranking, key=lambda pair: (-pair[1], pair[0].encode()))
        run = {"q": {id_: float(len(ordered) - rank) for rank, (id_, _) in enumerate(ordered)}}
        measured = pytrec_eval.RelevanceEvaluator({"q": gains}, set(MEASURES)).evaluate(run)["q"]
        assert set(measured) == set(MEASURES), number
        expected = {MEASURES[name]: value for name, value in measured.items()}
        cases.append({"ranking": ranking, "gains": gains, "expected": expected})
    lines = ",\n".join(json.dumps(case, ensure_ascii=False) for case in cases)
    OUT.write_text(f"[\n{lines}\n]\n", encoding="utf-8")


if __name__ == "__main__":
    main()
