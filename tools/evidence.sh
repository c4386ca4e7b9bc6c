#!/usr/bin/env bash
# Regenerates docs/evidence/: all parts, or those named. A part that lacks its data says so.
#   tools/evidence.sh [demo] [routing] [routing-costs] [parity] [encoder-speed]
#     [encoder-profile] [encoder-experts] [encoder-quality] [support-check]
#     [python-import] [lexical-search] [hostile-files] [corpus-faults] [hybrid] [vector-search] [graph-search]
#     [ingestion] [million] [lm-speed] [lm-cold] [lm-perplexity] [lm-parity] [hostile-lm-files] [training-choices]
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=tools/models.sh
source tools/models.sh
python=build/venv/bin/python
parts=("$@")
[ ${#parts[@]} -gt 0 ] || parts=(demo routing routing-costs parity encoder-speed encoder-profile encoder-experts encoder-quality support-check python-import lexical-search hostile-files corpus-faults ingestion)
for part in "${parts[@]}"; do
  echo "== evidence: $part"
  case "$part" in
    demo)
      tools/fetch-manuals.sh build/demo/packages
      "$python" benchmarks/demo_evaluation.py ;;
    routing) "$python" benchmarks/routing.py ;;
    routing-costs) "$python" benchmarks/routing_costs.py ;;
    parity) "$python" benchmarks/parity.py ;;
    encoder-speed) "$python" benchmarks/encoder_speed.py ;;
    encoder-profile)
      tools/build.sh release encoder_bench kernel_bench
      "$python" benchmarks/encoder_profile.py ;;
    encoder-experts) "$python" benchmarks/encoder_experts.py ;;
    encoder-quality) "$python" benchmarks/encoder_quality.py ;;
    support-check) "$python" benchmarks/support_check.py ;;
    python-import) "$python" benchmarks/python_import.py ;;
    hostile-files) "$python" benchmarks/hostile_files.py ;;
    corpus-faults) "$python" benchmarks/corpus_faults.py ;;
    ingestion) "$python" benchmarks/ingestion.py ;;
    million)
      tools/build.sh release million_bench
      "$python" benchmarks/million.py ;;
    lexical-search) "$python" benchmarks/lexical_search.py ;;
    hybrid) "$python" benchmarks/hybrid.py ;;
    vector-search)
      tools/build.sh release vector_search_bench
      env -u OPENBLAS_CORETYPE -u OPENBLAS_L2_SIZE "$python" benchmarks/vector_search.py ;;
    graph-search)
      tools/build.sh release graph_search_bench vector_search_bench
      for vectors in synthetic real; do
        if [ "$vectors" = real ] && ! compgen -G "build/evidence/routing18-library-*" >/dev/null; then
          echo "evidence: no library of make evidence ONLY=routing: real vectors are left out"
          continue
        fi
        SET=$vectors "$python" benchmarks/graph_search.py build \
          ours ours-16-200 hnswlib usearch faiss ours-ivf faiss-ivf
        SET=$vectors "$python" benchmarks/graph_search.py search
      done
      "$python" benchmarks/graph_search.py page ;;
    lm-speed) "$python" benchmarks/lm_speed.py ;;
    lm-cold)
      tools/build.sh release lm_cold_bench
      "$python" benchmarks/lm_cold.py ;;
    lm-perplexity) "$python" benchmarks/lm_perplexity.py ;;
    lm-parity) "$python" benchmarks/lm_parity.py ;;
    hostile-lm-files) "$python" benchmarks/hostile_files.py --page hostile-lm-files ;;
    training-choices) "$python" benchmarks/training_choices.py ;;
    *) echo "evidence: unknown part '$part'" >&2; exit 2 ;;
  esac
done
