#!/usr/bin/env bash
# Runs the suites of a built tree: all (dev preset), fast (without slow tests), asan (fast suite of
# the sanitizer build), tsan (where threads meet; THREAD_SECONDS for eight threads on one corpus).
# Prints the runners' own summaries.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=tools/models.sh
source tools/models.sh
case "$1" in
  all)
    ctest --preset dev -j"$(nproc)" --no-tests=error
    PYTHONPATH=build/dev/python build/venv/bin/python -m pytest -n "$(nproc)" --dist loadfile tests/python ;;
  fast)
    ctest --preset dev -j"$(nproc)" --no-tests=error -LE slow
    PYTHONPATH=build/dev/python build/venv/bin/python -m pytest -n "$(nproc)" --dist loadfile \
      tests/python -m 'not slow' ;;
  asan)
    # A process for each processor, not one for each test: starting them took most of the time.
    for name in core index router; do
      shards=()
      for ((i = 0; i < $(nproc); i++)); do
        GTEST_TOTAL_SHARDS=$(nproc) GTEST_SHARD_INDEX=$i GTEST_BRIEF=1 \
          "build/asan/tests/${name/core/cpp}/collegium_${name}_tests" --gtest_filter='-*Slow*' &
        shards+=($!)
      done
      for shard in "${shards[@]}"; do wait "$shard"; done
    done ;;
  tsan)
    export TSAN_OPTIONS="suppressions=$PWD/tests/tsan.supp halt_on_error=1"
    run() { "build/tsan/tests/${1/core/cpp}/collegium_$1_tests" --gtest_brief=1 --gtest_filter="$2"; }
    run core 'ThreadPool.*:ExpertSet.*:FileEnvelope.Readers*:LanguageModel.Threads*'
    run index 'Corpus.Readers*:CorpusBackup.Equals*:CorpusDurability.*:CorpusReview.*BeforeItsSync:CorpusReview.*WaitsForItsSync:CorpusReplay.*:FilteredGraph.*Threads:LexicalStore.Readers*'
    COLLEGIUM_FAULT_ROUNDS=${THREAD_SECONDS:-60} run index '*SlowEightThreads*'
    run router 'LibraryThreads.*' ;;
  *) echo "run-tests: unknown suite '$1'" >&2; exit 2 ;;
esac
