// An index file behind its store is brought forward by the change log. The oracle is the same store
// with its index made anew, and a map.
#include <map>
#include <random>

#include "corpus_contents.h"
#include "corpus_impl.h"
#include "corpus_law.h"
#include "document_store_batch.h"
#include "document_store_layout.h"

namespace collegium::index {
namespace {

namespace fs = std::filesystem;

// Random puts, replacements and removals of documents with zero to three passages, `commits`
// commits of up to four each; `model` says how many passages each has.
void change(Corpus& corpus, std::size_t commits, std::mt19937& random,
            std::map<std::string, std::size_t>& model) {
  for (std::size_t c = 0; c < commits; ++c) {
    WriteSet writes;
    for (std::size_t slot = 0; slot < 4; ++slot) {
      if (random() % 3 == 0) continue;
      const std::string id = "d" + std::to_string(slot * 30 + random() % 30);
      if (model.contains(id) && random() % 2 == 0) {
        model.erase(id);
        writes.remove_document("law", id);
        continue;
      }
      const std::size_t passages = random() % 4;
      model[id] = passages;
      writes.put_document(
          "law", make_document(id, passages, clustered_rows(passages, kLawDim, 7, random())));
    }
    if (random() % 4 == 0) {
      LexicalSettings settings;
      settings.k1 = 1.0 + static_cast<double>(c);
      writes.set_lexical("law", settings);
    }
    if (random() % 4 == 0) writes.put_record("other", std::to_string(c));
    if (!writes.empty()) {
      ASSERT_OK(corpus.commit(std::move(writes)));
    }
  }
}

std::string note_of(const Corpus& corpus) { return corpus.collection_info("law")->index_note; }

TEST(CorpusReplay, AnIndexFileBehindTheStoreAnswersLikeOneMadeAnew) {
  for (std::uint32_t seed = 1; seed <= 12; ++seed) {
    const TemporaryFolder folder;
    const std::string path = folder / "corpus";
    const std::string file = path + "/index/0.index";
    std::mt19937 random(seed);
    std::map<std::string, std::size_t> model;
    {
      const auto corpus = make_corpus(path, 60);
      for (std::size_t i = 0; i < 60; ++i) model["d" + std::to_string(i)] = 1;
      change(*corpus, 10, random, model);
      ASSERT_OK(corpus->flush_indexes());
      fs::copy_file(file, folder / "behind");
      change(*corpus, random() % 12, random, model);
      if (seed % 3 == 0) {
        ASSERT_OK(corpus->compact());
      }
      WriteSet last;
      last.put_document("law", make_document("last", 2, clustered_rows(2, kLawDim, 7, 1)));
      ASSERT_OK(corpus->commit(std::move(last)));
      model["last"] = 2;
    }
    fs::copy_file(folder / "behind", file, fs::copy_options::overwrite_existing);
    std::string replayed;
    {
      const auto corpus = Corpus::open_read_only(path);
      ASSERT_OK(corpus);
      const auto info = (*corpus)->collection_info("law");
      EXPECT_FALSE(info->index_rebuilt) << info->index_note;
      EXPECT_NE(info->index_note.find("were replayed"), std::string::npos) << info->index_note;
      replayed = *contents(**corpus);
      const auto view = (*corpus)->view("law");
      ASSERT_EQ((*view)->num_documents(), model.size()) << seed;
      std::size_t passages = 0;
      for (const auto& [id, count] : model) {
        EXPECT_TRUE((*view)->find_document(id).has_value()) << id;
        passages += count;
      }
      EXPECT_EQ((*view)->num_passages(), passages);
    }
    fs::remove(file);
    const auto corpus = Corpus::open(path);
    ASSERT_OK(corpus);
    EXPECT_TRUE((*corpus)->collection_info("law")->index_rebuilt);
    EXPECT_EQ(replayed, *contents(**corpus)) << seed;
  }
}

TEST(CorpusReplay, KeepsTheGraphAndReadsNothingElseOfTheStore) {
  const TemporaryFolder folder;
  const std::string path = folder / "corpus";
  const std::string file = path + "/index/0.index";
  std::mt19937 random(3);
  std::uint64_t generation = 0;
  {
    const auto corpus = make_corpus(path, 0, /*hnsw_threshold=*/300);
    WriteSet writes;
    const auto rows = clustered_rows(400, kLawDim, 7, 3);
    for (std::size_t i = 0; i < 400; ++i)
      writes.put_document("law",
                          make_document("d" + std::to_string(i), 1,
                                        {rows.begin() + static_cast<long>(i * kLawDim),
                                         rows.begin() + static_cast<long>((i + 1) * kLawDim)}));
    ASSERT_OK(corpus->commit(std::move(writes)));
    ASSERT_OK(corpus->flush_indexes());
    generation = corpus->collection_info("law")->index_generation;
    ASSERT_NE(generation, 0u);
    fs::copy_file(file, folder / "behind");
    ASSERT_OK(put(*corpus, "d7", "another text", 5));
    ASSERT_OK(put(*corpus, "new", "text", 6));
    ASSERT_OK(remove(*corpus, "d9"));
    // A document that no commit after the file touched loses a vector: rebuilding would notice.
    static_cast<CorpusImpl&>(*corpus).with_store([](DocumentStore& store) {
      DocumentStore::Batch batch(store);
      batch.remove_document(0, "d11", *store.entry(0, "d11").value());
      EXPECT_OK(store.write(batch));
    });
  }
  fs::copy_file(folder / "behind", file, fs::copy_options::overwrite_existing);
  const auto corpus = Corpus::open(path);
  ASSERT_OK(corpus);
  const auto info = (*corpus)->collection_info("law");
  EXPECT_FALSE(info->index_rebuilt) << info->index_note;
  EXPECT_EQ(info->index_kind, "hnsw");
  EXPECT_EQ(info->index_generation, generation);
  for (const auto& [id, i] : {std::pair("d7", 5u), std::pair("new", 6u)}) {
    const auto hits = (*corpus)->search("law", row_of(i), 400);
    ASSERT_OK(hits);
    EXPECT_EQ(hits->size(), 400u);
    EXPECT_TRUE(std::any_of(hits->begin(), hits->end(),
                            [&](const Hit& hit) { return hit.document_id == id; }));
    EXPECT_FALSE(std::any_of(hits->begin(), hits->end(),
                             [](const Hit& hit) { return hit.document_id == "d9"; }));
  }
}

// Closes a corpus whose index file is two commits behind, after `spoil` had its store; opens it.
void expect_rebuilt(const std::function<void(DocumentStore&, std::uint64_t)>& spoil,
                    const std::string& note) {
  const TemporaryFolder folder;
  const std::string path = folder / "corpus";
  const std::string file = path + "/index/0.index";
  std::string expected;
  {
    const auto corpus = make_corpus(path, 20);
    ASSERT_OK(corpus->flush_indexes());
    fs::copy_file(file, folder / "behind");
    const std::uint64_t at = corpus->commit_seq();
    ASSERT_OK(put(*corpus, "d3", "another text", 5));
    ASSERT_OK(remove(*corpus, "d4"));
    expected = *contents(*corpus);
    static_cast<CorpusImpl&>(*corpus).with_store([&](DocumentStore& store) { spoil(store, at); });
  }
  fs::copy_file(folder / "behind", file, fs::copy_options::overwrite_existing);
  const auto corpus = Corpus::open(path);
  ASSERT_OK(corpus);
  EXPECT_TRUE((*corpus)->collection_info("law")->index_rebuilt) << note_of(**corpus);
  EXPECT_NE(note_of(**corpus).find(note), std::string::npos) << note_of(**corpus);
  EXPECT_EQ(*contents(**corpus), expected);
}

// Writes `entries` as the change log of commit `seq`.
void write_log(DocumentStore& store, std::uint64_t seq, const std::vector<LogEntry>& entries) {
  core::ByteWriter value;
  for (const LogEntry& entry : entries) {
    value.write(entry.kind);
    value.write(entry.collection);
    value.write_string(entry.id);
    value.write(entry.first_row);
    value.write(entry.passages);
  }
  DocumentStore::Batch batch(store);
  ASSERT_TRUE(batch.raw().Put(log_key(seq), slice(value)).ok());
  ASSERT_OK(store.write(batch));
}

TEST(CorpusReplay, ALogThatWasTrimmedDamagedOrDoesNotFitIsNotBelieved) {
  expect_rebuilt(
      [](DocumentStore& store, std::uint64_t at) {
        DocumentStore::Batch batch(store);
        batch.remove_log_before(at + 2);
        ASSERT_OK(store.write(batch));
      },
      "is not in the change log");
  expect_rebuilt(
      [](DocumentStore& store, std::uint64_t at) {
        DocumentStore::Batch batch(store);
        ASSERT_TRUE(batch.raw().Put(log_key(at + 2), "short").ok());
        ASSERT_OK(store.write(batch));
      },
      "the change log of commit");
  const struct {
    std::vector<LogEntry> entries;  // of the first of the two commits, which put d3 anew
    const char* note;
  } cases[] = {
      {{{1, 0, "d3", 21, 1}}, "it leaves"},
      {{{2, 0, "d3", 4, 1}, {1, 0, "d3", 20, 1}}, "document 'd3' is not in the store"},
      {{{2, 0, "d3", 4, 1}, {1, 0, "d3", 21, 2}}, "document 'd3' is not in the store"},
      {{{2, 0, "d3", 4, 1}, {1, 0, "ghost", 21, 1}}, "document 'ghost' is not in the store"},
      {{{2, 0, "d3", 5, 1}, {1, 0, "d3", 21, 1}}, "document 'd3' was not in the index"},
      {{{2, 0, "d3", 4, 2}, {1, 0, "d3", 21, 1}}, "document 'd3' was not in the index"},
      {{{2, 0, "d3", 4, 0}, {1, 0, "d3", 21, 1}}, "document 'd3' was not in the index"},
      {{{2, 0, "d3", 4, 1}, {1, 0, "d3", 21, 1}, {1, 0, "d3", 21, 1}}, "'d3' was put twice"},
      {{{2, 0, "d3", 4, 1}, {2, 0, "d3", 4, 1}}, "'d3' was removed twice"},
  };
  for (const auto& one : cases)
    expect_rebuilt(
        [&](DocumentStore& store, std::uint64_t at) { write_log(store, at + 1, one.entries); },
        one.note);
}

TEST(CorpusReplay, IsLeftOutWhereMostCameSinceTheFile) {
  const TemporaryFolder folder;
  const std::string path = folder / "corpus";
  const std::string file = path + "/index/0.index";
  {
    const auto corpus = make_corpus(path, 3);
    ASSERT_OK(corpus->flush_indexes());
    fs::copy_file(file, folder / "behind");
    for (std::size_t i = 3; i < 8; ++i) ASSERT_OK(put(*corpus, "d" + std::to_string(i), "text", i));
  }
  fs::copy_file(folder / "behind", file, fs::copy_options::overwrite_existing);
  const auto corpus = Corpus::open(path);
  ASSERT_OK(corpus);
  EXPECT_TRUE((*corpus)->collection_info("law")->index_rebuilt);
  EXPECT_EQ((*corpus)->collection_info("law")->documents, 8u);
  EXPECT_EQ((*corpus)->search("law", row_of(7), 20)->size(), 8u);
}

}  // namespace
}  // namespace collegium::index
