// Crashes, power cuts, full and failing disks, random operations, threads: what was acknowledged is
// there afterwards, whole, and nothing else is. The counts here are those of CI;
// benchmarks/corpus_faults.py runs them with others (COLLEGIUM_FAULT_ROUNDS, COLLEGIUM_FAULT_SEED).
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <random>
#include <thread>

#include "corpus_contents.h"
#include "corpus_testing.h"
#include "corpus_trace.h"
#include "crash_script.h"

namespace collegium::index {
namespace {

namespace fs = std::filesystem;

// Runs crash_writer with `arguments`, over the shim; its exit status.
int run_writer(const std::vector<std::string>& arguments, const std::string& folder,
               const std::string& trace, const std::string& fail) {
  const pid_t child = ::fork();
  if (child == 0) {
    ::setenv("LD_PRELOAD", COLLEGIUM_FAULT_SHIM, 1);
    ::setenv("COLLEGIUM_SHIM_FOLDER", folder.c_str(), 1);
    if (!trace.empty()) ::setenv("COLLEGIUM_SHIM_TRACE", trace.c_str(), 1);
    if (!fail.empty()) ::setenv("COLLEGIUM_SHIM_FAIL", fail.c_str(), 1);
    std::vector<char*> argv = {const_cast<char*>("crash_writer")};
    for (const std::string& argument : arguments)
      argv.push_back(const_cast<char*>(argument.c_str()));
    argv.push_back(nullptr);
    if (std::freopen("/dev/null", "w", stdout) == nullptr) ::_exit(126);
    ::execv(COLLEGIUM_CRASH_WRITER, argv.data());
    ::_exit(127);
  }
  int status = 0;
  if (child < 0 || ::waitpid(child, &status, 0) != child) return -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

// What the writer had been told when the trace broke off.
struct Acknowledged {
  std::uint64_t synced = 0;  // the last step that was, and with it all before
  std::uint64_t written = 0;
  bool any = false;
  void note(const std::string& line) {
    any = true;
    written = std::stoull(line.substr(line[0] == '~' ? 1 : 0));
    if (line[0] != '~') synced = written;
  }
};

// Opens `path` and compares it with what some number of steps in [at_least, at_most] make.
void expect_steps(const std::string& path, std::uint64_t at_least, std::uint64_t at_most,
                  const std::string& where) {
  const auto opened = Corpus::open(path);
  ASSERT_TRUE(has_code(opened, StatusCode::kOk)) << where;
  const auto last = (*opened)->record("step");
  if (!last.ok() && at_least == 0) return;  // cut off before its first commit
  ASSERT_TRUE(has_code(last, StatusCode::kOk)) << where;
  const std::uint64_t found = std::stoull(*last);
  ASSERT_GE(found, at_least) << where;
  ASSERT_LE(found, at_most) << where;
  const CrashScript expected = CrashScript::after(found);
  const auto report = (*opened)->verify();
  ASSERT_OK(report);
  for (const CorpusFinding& finding : report->findings)
    ADD_FAILURE() << where << ": " << finding.where << ": " << finding.problem;
  ASSERT_EQ(report->documents, expected.documents.size()) << where;
  for (const auto& [id, version] : expected.documents) {
    const auto stored = (*opened)->stored_document("law", id);
    ASSERT_OK(stored);
    const NewDocument made = CrashScript::make(id, version);
    ASSERT_EQ(stored->document.text, made.document.text) << where;
    ASSERT_EQ(stored->vectors, made.vectors) << where;
  }
  const auto hits = (*opened)->search("law", std::vector<float>(CrashScript::kDim, 1.0f), 500);
  ASSERT_OK(hits);
  ASSERT_EQ(hits->size(), expected.documents.size()) << where;
}

// Runs the writer of crash_writer.cc, kills it after a while, and compares.
void kill_writers(std::uint64_t rounds, std::uint32_t seed) {
  const TemporaryFolder folder;
  const std::string path = folder / "corpus";
  std::mt19937 random(seed);
  std::uint64_t acknowledged = 0;
  for (std::uint64_t round = 0; round < rounds; ++round) {
    std::array<int, 2> ends{};
    ASSERT_EQ(::pipe(ends.data()), 0);
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {  // nothing but exec between fork and the new program
      ::dup2(ends[1], STDOUT_FILENO);
      ::close(ends[0]);
      ::close(ends[1]);
      ::execl(COLLEGIUM_CRASH_WRITER, "crash_writer", path.c_str(), nullptr);
      ::_exit(127);
    }
    ::close(ends[1]);
    FILE* pipe = ::fdopen(ends[0], "r");
    // After so many acknowledgements and then a moment, so that the kill falls anywhere.
    std::uint64_t step = 0;
    const unsigned lines = random() % 60;
    const auto next_step = [&] {  // what was asynchronous has a "~": the system has it all the same
      return std::fscanf(pipe, " %*[~]") != EOF && std::fscanf(pipe, "%lu", &step) == 1;
    };
    for (unsigned i = 0; i <= lines && next_step(); ++i)
      acknowledged = std::max(acknowledged, step);
    ::usleep(random() % 3000);
    ASSERT_EQ(::kill(child, SIGKILL), 0);
    while (next_step()) acknowledged = std::max(acknowledged, step);
    std::fclose(pipe);
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status)) << "the writer ended by itself: " << status;

    const auto corpus = Corpus::open(path);
    ASSERT_OK(corpus);
    const auto last = (*corpus)->record("step");
    ASSERT_OK(last);
    const std::uint64_t found = std::stoull(*last);
    ASSERT_GE(found, acknowledged) << "round " << round;
    ASSERT_LE(found, acknowledged + 1);
    acknowledged = found;
    // Whole: documents, counts, vectors and index agree with what `found` steps make.
    const CrashScript expected = CrashScript::after(found);
    const auto view = (*corpus)->view("law");
    ASSERT_OK(view);
    ASSERT_EQ((*view)->num_documents(), expected.documents.size());
    for (const auto& [id, version] : expected.documents) {
      const auto stored = (*corpus)->stored_document("law", id);
      ASSERT_OK(stored);
      const NewDocument made = CrashScript::make(id, version);
      EXPECT_EQ(stored->document.text, made.document.text);
      EXPECT_EQ(stored->vectors, made.vectors);
      const auto hits = (*corpus)->search("law", std::span(made.vectors).first(CrashScript::kDim),
                                          expected.documents.size());
      ASSERT_OK(hits);
      EXPECT_EQ(hits->size(), expected.documents.size());
    }
  }
  EXPECT_GT(acknowledged, rounds);
}

TEST(CorpusDamage, AcknowledgedCommitsSurviveAKilledWriter) { kill_writers(4, 1); }
TEST(CorpusDamage, SlowAcknowledgedCommitsSurviveManyKilledWriters) {
  kill_writers(fault_rounds(200), fault_seed(2));
}

// tests/data/corpora/vN: made by crash_writer when the store had version N, without what RocksDB
// makes anew (LOCK, IDENTITY, OPTIONS); v1 was killed after a second opening, v2 was closed.
TEST(CorpusSpecimens, EveryStoreVersionLoadsAndIsWhole) {
  for (const auto& [version, steps] : {std::pair<int, std::uint64_t>{1, 120}, {2, 12}}) {
    const TemporaryFolder folder;
    const std::string path = folder / "corpus";
    copy_folder(std::string(COLLEGIUM_TEST_DATA) + "/corpora/v" + std::to_string(version), path);
    expect_steps(path, steps, steps, "version " + std::to_string(version));
    const auto opened = Corpus::open(path);
    ASSERT_OK(opened);
    WriteSet writes;
    CrashScript::after(steps).advance(steps + 1, &writes);
    EXPECT_OK((*opened)->commit(std::move(writes)));
    ASSERT_OK((*opened)->close());
    expect_steps(path, steps + 1, steps + 1, "written to, version " + std::to_string(version));
  }
}

struct Recorded {
  std::string begin;  // what was there before; empty: nothing
  Acknowledged acknowledged;
  std::vector<TraceStep> steps;
  std::vector<std::size_t> moments;  // behind which steps a crash is interesting
};
// Of `steps` steps after `before` others, from a new corpus if there are none.
Recorded record_run(const TemporaryFolder& folder, const std::string& path, std::uint64_t before,
                    std::uint64_t steps) {
  Recorded run;
  if (before > 0) {
    EXPECT_EQ(run_writer({path, std::to_string(before)}, path, "", ""), 0);
    run.begin = folder / "begin";
    copy_folder(path, run.begin);
    run.acknowledged.note(std::to_string(before));
  }
  EXPECT_EQ(run_writer({path, std::to_string(steps)}, path, folder / "trace", ""), 0);
  run.steps = read_trace(folder / "trace");
  for (std::size_t i = 0; i < run.steps.size(); ++i)
    if (run.steps[i].type != 'b') run.moments.push_back(i + 1);
  return run;
}

// A folder that never became a corpus (its creation was cut off) is refused by name, and nothing
// was acknowledged then.
bool never_created(const std::string& path, const Acknowledged& acknowledged) {
  return !acknowledged.any && !fs::exists(path + "/COMMITTED");
}

TEST(CorpusFaults, SlowACrashAtEveryWriteSyncAndRenameLosesNothing) {
  const TemporaryFolder folder;
  const std::string path = folder / "corpus";
  const std::string crashed = folder / "crashed";
  const Recorded run = record_run(folder, path, (fault_seed(1) - 1) % 40, fault_rounds(25));
  ASSERT_GT(run.moments.size(), 200u);
  TracedDisk disk(run.begin, path);
  Acknowledged acknowledged = run.acknowledged;
  std::size_t tried = 0;
  for (std::size_t i = 0; i < run.steps.size(); ++i) {
    disk.apply(run.steps[i]);
    if (run.steps[i].type == 'a') acknowledged.note(run.steps[i].text);
    if (run.steps[i].type == 'b' || run.steps[i].type == 'a') continue;
    disk.write_all(crashed);
    if (never_created(crashed, acknowledged)) continue;
    ++tried;
    expect_steps(crashed, acknowledged.written, acknowledged.written + 1,
                 "after step " + std::to_string(i) + " of the trace");
    if (::testing::Test::HasFatalFailure()) return;
  }
  EXPECT_GT(tried, 150u);
  RecordProperty("tried", static_cast<int>(tried));
}

TEST(CorpusFaults, SlowAPowerCutLosesNothingThatWasSynced) {
  const TemporaryFolder folder;
  const std::string path = folder / "corpus";
  const std::string cut = folder / "cut";
  const Recorded run = record_run(folder, path, 0, 60);
  ASSERT_GT(run.moments.size(), 400u);
  std::mt19937 random(fault_seed(1));
  std::vector<std::size_t> moments;
  for (std::uint64_t i = 0; i < fault_rounds(100); ++i)
    moments.push_back(run.moments[random() % run.moments.size()]);
  std::sort(moments.begin(), moments.end());
  TracedDisk disk(run.begin, path);
  Acknowledged acknowledged = run.acknowledged;
  std::uint64_t begun = 0;
  std::size_t next = 0;
  std::size_t tried = 0;
  for (std::size_t i = 0; i < run.steps.size() && next < moments.size(); ++i) {
    disk.apply(run.steps[i]);
    if (run.steps[i].type == 'a') acknowledged.note(run.steps[i].text);
    begun = acknowledged.written + 1;
    for (; next < moments.size() && moments[next] == i + 1; ++next) {
      disk.write_after_power_cut(cut, /*keep=*/next % 4 != 0, random);
      if (never_created(cut, acknowledged)) continue;
      ++tried;
      expect_steps(cut, acknowledged.synced, begun, "power cut at step " + std::to_string(i));
      if (::testing::Test::HasFatalFailure()) return;
    }
  }
  EXPECT_GE(tried, moments.size() / 2);
  RecordProperty("tried", static_cast<int>(tried));
}

TEST(CorpusFaults, SlowAFullOrFailingDiskAtAnyCallRefusesAndRecovers) {
  const TemporaryFolder folder;
  const std::string path = folder / "corpus";
  std::mt19937 random(fault_seed(1));
  const Recorded whole = record_run(folder, path, 0, 30);
  const auto calls = static_cast<std::uint64_t>(std::count_if(
      whole.steps.begin(), whole.steps.end(),
      [](const TraceStep& step) { return std::strchr("cwtsdrm", step.type) != nullptr; }));
  ASSERT_GT(calls, 200u);
  for (std::uint64_t i = 0; i < fault_rounds(50); ++i) {
    fs::remove_all(path);
    const int error = i % 2 == 0 ? ENOSPC : EIO;
    const std::uint64_t at = random() % calls;
    const std::string where =
        (error == ENOSPC ? "ENOSPC at call " : "EIO at call ") + std::to_string(at);
    ASSERT_EQ(run_writer({path, "30", "fail"}, path, "",
                         std::to_string(error) + ":" + std::to_string(at)),
              0)
        << where;
    expect_steps(path, 29, 31, where);
    if (::testing::Test::HasFatalFailure()) return;
  }
}

TEST(CorpusFaults, SlowALiveLogCutAtAnyByteLosesNothingOrIsCorruption) {
  const TemporaryFolder folder;
  const std::string path = folder / "corpus";
  {
    const auto corpus = Corpus::create(path, {CrashScript::kDim, "digest"});
    ASSERT_OK(corpus);
    WriteSet create;
    create.create_collection("law");
    create.put_record("step", "0");
    ASSERT_OK((*corpus)->commit(std::move(create)));
    CrashScript script;
    for (std::uint64_t step = 1; step <= 3; ++step) {
      WriteSet writes;
      script.advance(step, &writes);
      ASSERT_OK((*corpus)->commit(std::move(writes)));
    }
    copy_folder(path, folder / "live");
  }
  std::string log;
  for (const std::string& name : files_in(folder / "live"))
    if (name.ends_with(".log") && fs::file_size(folder / ("live/" + name)) > 0) log = name;
  const std::size_t size = fs::file_size(folder / ("live/" + log));
  const std::size_t stride = fault_rounds(1) == 1 ? 3 : 1;
  std::size_t refused = 0;
  for (std::size_t cut = 0; cut < size; cut += stride) {
    copy_folder(folder / "live", folder / "copy");
    fs::resize_file(folder / ("copy/" + log), cut);
    const auto opened = Corpus::open(folder / "copy");
    ASSERT_TRUE(has_code(opened, StatusCode::kCorruption)) << cut << " of " << size;
    ++refused;
  }
  EXPECT_GE(refused, size / stride);
  expect_steps(folder / "live", 3, 3, "the whole log");
}

// Small whole numbers: inner products are exact, and ties are many.
using Model = std::map<std::string, std::vector<float>>;  // id -> (passages, dim)
std::vector<std::pair<std::string, float>> brute_force(const Model& model,
                                                       const std::vector<float>& query,
                                                       std::size_t k) {
  std::vector<std::pair<std::string, float>> found;
  for (const auto& [id, rows] : model) {
    float best = -1e30f;
    for (std::size_t i = 0; i < rows.size(); i += query.size()) {
      float score = 0.0f;
      for (std::size_t j = 0; j < query.size(); ++j) score += rows[i + j] * query[j];
      best = std::max(best, score);
    }
    if (!rows.empty()) found.emplace_back(id, best);
  }
  std::stable_sort(found.begin(), found.end(),
                   [](const auto& a, const auto& b) { return a.second > b.second; });
  if (found.size() > k) found.resize(k);
  return found;
}

TEST(CorpusFaults, SlowRandomOperationsAnswerLikeAModelAcrossRestarts) {
  const TemporaryFolder folder;
  const std::string path = folder / "corpus";
  constexpr std::size_t kDim = 6;
  std::mt19937 random(fault_seed(1));
  const std::vector<std::string> names = {"law", "medicine"};
  std::map<std::string, Model> models;
  auto opened = Corpus::create(path, {kDim, "digest"});
  ASSERT_OK(opened);
  WriteSet create;
  for (const std::string& name : names) create.create_collection(name);
  ASSERT_OK((*opened)->commit(std::move(create)));
  std::unique_ptr<Corpus> corpus = std::move(*opened);
  const auto vectors = [&](std::size_t n) {
    std::vector<float> rows(n * kDim);
    for (float& value : rows) value = static_cast<float>(static_cast<int>(random() % 7) - 3);
    return rows;
  };
  for (std::uint64_t operation = 0; operation < fault_rounds(20000); ++operation) {
    const std::string& name = names[random() % 2];
    Model& model = models[name];
    const std::string id = "d" + std::to_string(random() % 150);
    const CommitOptions how{random() % 2 == 0 ? Durability::kAsync : Durability::kSync};
    const unsigned kind = random() % 1000;
    if (kind < 350) {
      const std::size_t passages = random() % 4;
      const auto rows = vectors(passages);
      WriteSet writes;
      writes.put_document(name, make_document(id, passages, rows));
      ASSERT_OK(corpus->commit(std::move(writes), how));
      model[id] = rows;
    } else if (kind < 500) {
      WriteSet writes;
      writes.remove_document(name, id);
      const auto removed = corpus->commit(std::move(writes), how);
      ASSERT_TRUE(
          has_code(removed, model.erase(id) == 1 ? StatusCode::kOk : StatusCode::kNotFound));
    } else if (kind < 800) {
      const auto query = vectors(1);
      const std::size_t k = 1 + random() % 20;
      const auto hits = corpus->search(name, query, k);
      ASSERT_OK(hits);
      const auto expected = brute_force(model, query, k);
      ASSERT_EQ(hits->size(), expected.size()) << operation;
      for (std::size_t i = 0; i < expected.size(); ++i) {
        ASSERT_EQ((*hits)[i].document_id, expected[i].first) << operation;
        ASSERT_EQ((*hits)[i].score, expected[i].second) << operation;
      }
    } else if (kind < 980) {
      const auto stored = corpus->stored_document(name, id);
      const auto known = model.find(id);
      ASSERT_EQ(stored.ok(), known != model.end()) << operation;
      if (stored.ok()) {
        ASSERT_EQ(stored->vectors, known->second) << operation;
      }
    } else if (kind < 990) {
      ASSERT_OK(corpus->flush_indexes());
    } else if (kind < 993) {
      ASSERT_OK(corpus->compact());
    } else if (kind < 994) {
      ASSERT_OK(corpus->purge());
    } else if (kind < 995) {
      ASSERT_OK(corpus->reopen());
    } else if (kind < 996) {  // restart
      ASSERT_OK(corpus->close());
      auto again = Corpus::open(path);
      ASSERT_OK(again);
      corpus = std::move(*again);
    } else if (kind < 997) {
      const auto report = corpus->verify();
      ASSERT_OK(report);
      ASSERT_TRUE(report->ok()) << report->findings[0].where << report->findings[0].problem;
    } else {
      const auto view = corpus->view(name);
      ASSERT_OK(view);
      ASSERT_EQ((*view)->num_documents(), model.size()) << operation;
    }
  }
}

TEST(CorpusFaults, SlowEightThreadsReadWriteAndSnapshotTogether) {
  const TemporaryFolder folder;
  const std::string path = folder / "corpus";
  constexpr std::size_t kDim = 6;
  auto opened = Corpus::create(path, {kDim, "digest"});
  ASSERT_OK(opened);
  Corpus& corpus = **opened;
  WriteSet create;
  create.create_collection("law");
  ASSERT_OK(corpus.commit(std::move(create)));
  std::atomic<bool> stop{false};
  std::atomic<std::uint64_t> commits{0};
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < 3; ++t)
    threads.emplace_back([&, t] {  // a document of each writer's own, twice in each commit
      for (std::uint64_t i = 0; !stop; ++i) {
        WriteSet writes;
        for (const char* half : {"a", "b"}) {
          NewDocument document = make_document(
              half + std::to_string(t), 1, std::vector<float>(kDim, static_cast<float>(i % 50)));
          document.document.text = std::to_string(i) + std::string(20, ' ');
          writes.put_document("law", std::move(document));
        }
        EXPECT_OK(corpus.commit(std::move(writes),
                                {i % 2 == 0 ? Durability::kAsync : Durability::kSync}));
        ++commits;
      }
    });
  for (unsigned t = 0; t < 3; ++t)
    threads.emplace_back([&] {
      while (!stop) {
        const auto hits = corpus.search("law", std::vector<float>(kDim, 1.0f), 10);
        EXPECT_OK(hits);
        if (!hits.ok()) continue;
        // The halves of a commit are seen together, so they score alike.
        std::map<std::string, float> scores;
        for (const Hit& hit : *hits) scores[hit.document_id] = hit.score;
        for (unsigned w = 0; w < 3; ++w)
          EXPECT_EQ(scores["a" + std::to_string(w)], scores["b" + std::to_string(w)]);
        EXPECT_OK(corpus.view("law"));
      }
    });
  threads.emplace_back([&] {
    for (unsigned i = 0; !stop; ++i) {
      EXPECT_OK(corpus.flush_indexes());
      if (i % 4 == 1) {
        EXPECT_OK(corpus.compact());
      }
      if (i % 8 == 3) {
        EXPECT_OK(corpus.purge());
      }
      if (i % 8 == 5) {
        EXPECT_OK(corpus.reopen());
      }
    }
  });
  threads.emplace_back([&] {
    for (unsigned i = 0; !stop; ++i) {
      const auto report = corpus.verify();
      EXPECT_OK(report);
      if (report.ok()) {
        EXPECT_TRUE(report->ok()) << report->findings[0].where << report->findings[0].problem;
      }
      fs::remove_all(folder / "backup");
      EXPECT_OK(corpus.backup(folder / "backup"));
    }
  });
  std::this_thread::sleep_for(std::chrono::seconds(fault_rounds(5)));
  stop = true;
  for (std::thread& thread : threads) thread.join();
  EXPECT_GT(commits, 20u);
  EXPECT_EQ(corpus.commit_seq(), 1 + commits);
  const auto report = corpus.verify();
  ASSERT_OK(report);
  EXPECT_TRUE(report->ok());
  RecordProperty("commits", static_cast<int>(commits));
}

}  // namespace
}  // namespace collegium::index
