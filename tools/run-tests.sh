#!/usr/bin/env bash
# Runs the suites of a built tree: all (dev preset), fast (without slow tests), asan (fast suite of
# the sanitizer build), tsan (where threads meet; THREAD_SECONDS for eight threads on one corpus).
# Prints the runners' own summaries.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=tools/models.sh
source tools/models.sh
processes=$(nproc)
# The C++ suites of a build, a process for each processor: starting one for each test took longer
# than the tests. cpp_tests dev|asan FILTER
cpp_tests() {
  local name i shards failed=0
  for name in core index router; do
    shards=()
    for ((i = 0; i < processes; i++)); do
      GTEST_TOTAL_SHARDS=$processes GTEST_SHARD_INDEX=$i GTEST_BRIEF=1 \
        "build/$1/tests/${name/core/cpp}/collegium_${name}_tests" --gtest_filter="$2" &
      shards+=($!)
    done
    for i in "${shards[@]}"; do wait "$i" || failed=1; done
  done
  return "$failed"
}
python_tests() {
  PYTHONPATH=build/dev/python build/venv/bin/python -m pytest -n "$processes" --dist loadfile \
    tests/python "$@"
}
case "$1" in
  all)
    cpp_tests dev '*'
    ctest --preset dev --no-tests=error -R '^(Walls|Consumer)[.]'
    python_tests ;;
  fast)
    cpp_tests dev '-*Slow*'
    python_tests -m 'not slow' ;;
  asan)
    export LSAN_OPTIONS="suppressions=$PWD/tests/lsan.supp print_suppressions=0"
    # The real language models take most of the time, and do what those of the tests' own making do.
    unset COLLEGIUM_SMOLLM2 COLLEGIUM_GEMMA3
    cpp_tests asan '-*Slow*' ;;
  tsan)
    export TSAN_OPTIONS="suppressions=$PWD/tests/tsan.supp halt_on_error=1"
    run() { "build/tsan/tests/${1/core/cpp}/collegium_$1_tests" --gtest_brief=1 --gtest_filter="$2"; }
    run core 'ThreadPool.*:ExpertSet.*:FileEnvelope.Readers*:LanguageModel.Threads*:GenerationScheduler.*'
    run index 'Corpus.Readers*:CorpusBackup.Equals*:CorpusDurability.*:CorpusReview.*BeforeItsSync:CorpusReview.*WaitsForItsSync:CorpusReplay.*:FilteredGraph.*Threads:LexicalStore.Readers*'
    COLLEGIUM_FAULT_ROUNDS=${THREAD_SECONDS:-60} run index '*SlowEightThreads*'
    run router 'LibraryThreads.*' ;;
  *) echo "run-tests: unknown suite '$1'" >&2; exit 2 ;;
esac
