// Commits steps of CrashScript to a corpus and prints the number of each one
// that was acknowledged, with a "~" before it if it was asynchronous. The tests
// of damage and faults start it and kill it, or put fault_shim.cc beneath it.
//   crash_writer FOLDER           for ever, now and then writing index files,
//   compacting, purging crash_writer FOLDER STEPS     so many steps, then
//   closes crash_writer FOLDER STEPS fail   as before; when a commit is
//   refused, checks that the corpus
//                                 still answers, heals the disk, reopens and
//                                 goes on
// Exit status: 0, or 2 and above for what went wrong.
#include <dlfcn.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>

#include "crash_script.h"

namespace collegium::index {
namespace {

bool acknowledge(std::uint64_t step, bool async) {
  const std::string line = (async ? "~" : "") + std::to_string(step) + "\n";
  return ::write(STDOUT_FILENO, line.data(), line.size()) > 0;
}

int fail(int code, const Status& status) {
  std::fprintf(stderr, "crash_writer: %s\n", status.to_string().c_str());
  return code;
}

void heal() {
  if (void* found = ::dlsym(RTLD_DEFAULT, "collegium_shim_heal"))
    reinterpret_cast<void (*)()>(found)();
}

Result<std::unique_ptr<Corpus>> open_or_create(const std::string& path) {
  auto corpus = Corpus::open(path);
  if (corpus.ok()) {
    if ((*corpus)->record("step").ok()) return corpus;
  } else if (corpus.status().code() == StatusCode::kNotFound) {
    corpus = Corpus::create(path, {CrashScript::kDim, "digest"});
  }
  if (!corpus.ok()) return corpus;
  WriteSet writes;
  writes.create_collection("law");
  writes.put_record("step", "0");
  COLLEGIUM_RETURN_IF_ERROR((*corpus)->commit(std::move(writes)));
  return corpus;
}

// What else a step does; every failure is one that the disk gave.
Status maintain(Corpus& corpus, std::uint64_t step) {
  if (step % 10 == 0) COLLEGIUM_RETURN_IF_ERROR(corpus.flush_indexes());
  if (step % 17 == 5) COLLEGIUM_RETURN_IF_ERROR(corpus.compact());
  if (step % 23 == 7) COLLEGIUM_RETURN_IF_ERROR(corpus.purge());
  return {};
}

int run(const std::string& path, std::uint64_t steps, bool expect_failures) {
  auto corpus = open_or_create(path);
  if (!corpus.ok() && expect_failures) {
    heal();
    // A create that failed half-way leaves nothing that a second one would not take.
    corpus = open_or_create(path);
  }
  if (!corpus.ok()) return fail(5, corpus.status());
  std::uint64_t step = std::stoull((*corpus)->record("step").value());
  CrashScript script = CrashScript::after(step);
  if (!acknowledge(step, false)) return 2;
  const std::uint64_t end = steps == 0 ? ~std::uint64_t{0} : step + steps;
  while (step < end) {
    const bool async = step % 3 == 1;
    WriteSet writes;
    CrashScript next = script;
    next.advance(step + 1, &writes);
    Status status =
        (*corpus)
            ->commit(std::move(writes), {async ? Durability::kAsync : Durability::kSync})
            .status();
    if (status.ok()) {
      script = std::move(next);
      ++step;
      if (!acknowledge(step, async)) return 2;
      status = maintain(**corpus, step);
    }
    if (status.ok()) continue;
    if (!expect_failures) return fail(6, status);
    if (status.code() != StatusCode::kResourceExhausted && status.code() != StatusCode::kIoError)
      return fail(7, status);
    const auto view = (*corpus)->view("law");
    if (!view.ok()) return fail(8, view.status());
    if ((*view)->num_documents() != script.documents.size())
      return fail(9, Status::internal("other documents than were acknowledged"));
    const auto hits = (*corpus)->search("law", std::vector<float>(CrashScript::kDim, 1.0f), 500);
    if (!hits.ok()) return fail(10, hits.status());
    if (hits->size() != script.documents.size())
      return fail(11, Status::internal("a search lost documents"));
    heal();
    if (const Status reopened = (*corpus)->reopen(); !reopened.ok()) return fail(12, reopened);
    // The refused commit may have been kept, as a whole.
    const std::uint64_t found = std::stoull((*corpus)->record("step").value());
    if (found != step && found != step + 1)
      return fail(
          13, Status::internal("step " + std::to_string(found) + " after " + std::to_string(step)));
    step = found;
    script = CrashScript::after(step);
  }
  if (const Status status = (*corpus)->close(); !status.ok() && !expect_failures)
    return fail(14, status);
  return 0;
}

}  // namespace
}  // namespace collegium::index

int main(int argc, char** argv) {
  if (argc < 2) return 2;
  return collegium::index::run(argv[1], argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 0,
                               argc > 3);
}
