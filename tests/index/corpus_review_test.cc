// What a review found: each was wrong once.
#include <sys/stat.h>
#include <unistd.h>

#include <nlohmann/json.hpp>
#include <thread>

#include "corpus_contents.h"
#include "corpus_impl.h"
#include "corpus_law.h"
#include "document_store_batch.h"

namespace collegium::index {
namespace {

namespace fs = std::filesystem;

CorpusImpl& inside(Corpus& corpus) { return static_cast<CorpusImpl&>(corpus); }

TEST(CorpusReview, PointReadsDoNotShowACommitThatWaitsForItsSync) {
  const TemporaryFolder folder;
  const auto corpus = make_corpus(folder / "corpus", 1);
  const auto hits = corpus->search("law", row_of(0), 1);
  ASSERT_OK(hits);
  ASSERT_EQ(hits->size(), 1u);
  const std::uint64_t before = corpus->commit_seq();
  auto held = inside(*corpus).hold_syncs();
  std::thread writer([&] { EXPECT_OK(put(*corpus, "d0", "another text", 5)); });
  while (inside(*corpus).written_seq() < before + 1) std::this_thread::yield();
  std::thread second([&] { EXPECT_OK(put(*corpus, "new", "text", 6)); });
  while (inside(*corpus).written_seq() < before + 2) std::this_thread::yield();

  EXPECT_EQ(corpus->document("law", "d0")->text, "text number 0");
  EXPECT_CODE(corpus->document("law", "new"), kNotFound);
  EXPECT_FALSE(*corpus->has_document("law", "new"));
  EXPECT_EQ(corpus->stored_document("law", "d0")->vectors, row_of(0));
  EXPECT_CODE(corpus->stored_document("law", "new"), kNotFound);
  EXPECT_EQ(*corpus->record("last"), "d0");
  EXPECT_EQ(corpus->records("")->size(), 1u);
  EXPECT_EQ(corpus->records("")->front().second, "d0");
  const auto passage = corpus->stored_passage(hits->front());
  EXPECT_OK(passage);
  EXPECT_EQ(passage->text, "text number 0");
  EXPECT_EQ(*corpus->export_jsonl("law", folder / "export"), 1u);
  EXPECT_NE(read_bytes(folder / "export").find("text number 0"), std::string::npos);

  held.unlock();
  writer.join();
  second.join();
  EXPECT_EQ(corpus->document("law", "d0")->text, "another text");
  EXPECT_EQ(*corpus->record("last"), "new");
  EXPECT_CODE(corpus->stored_passage(hits->front()), kNotFound);
}

TEST(CorpusReview, ANewCorpusDoesNotShowItsFirstCommitBeforeItsSync) {
  const TemporaryFolder folder;
  const auto corpus = Corpus::create(folder / "corpus", {kLawDim, "digest", 1000});
  ASSERT_OK(corpus);
  auto held = inside(**corpus).hold_syncs();
  std::thread writer([&] {
    WriteSet writes;
    writes.put_record("key", "value");
    EXPECT_OK((*corpus)->commit(std::move(writes)));
  });
  while (inside(**corpus).written_seq() < 1) std::this_thread::yield();
  EXPECT_CODE((*corpus)->record("key"), kNotFound);
  EXPECT_TRUE((*corpus)->records("")->empty());
  held.unlock();
  writer.join();
  EXPECT_EQ(*(*corpus)->record("key"), "value");
}

Status put_metadata(Corpus& corpus, const std::string& id, std::string metadata) {
  NewDocument document;
  document.document = {id, "title", "text", std::move(metadata)};
  WriteSet writes;
  writes.put_document("law", std::move(document));
  return corpus.commit(std::move(writes)).status();
}
std::string nested(std::size_t depth) {  // an object with arrays in it
  return "{\"a\":" + std::string(depth - 1, '[') + std::string(depth - 1, ']') + "}";
}

TEST(CorpusReview, MetadataIsNestedAtMost64Deep) {
  const TemporaryFolder folder;
  const auto corpus = make_corpus(folder / "corpus", 0);
  EXPECT_OK(put_metadata(*corpus, "deep", nested(64)));
  const Status refused = put_metadata(*corpus, "deeper", nested(65));
  EXPECT_CODE(refused, kInvalidArgument);
  EXPECT_NE(refused.message().find("nested 65 deep, allowed are 64"), std::string::npos);
  EXPECT_CODE(put_metadata(*corpus, "deepest", nested(1000000)), kInvalidArgument);
  EXPECT_OK(put_metadata(*corpus, "text", R"({"a":")" + std::string(1000, '[') + "\\\"{\"}"));
}

TEST(CorpusReview, ExportWritesMetadataAsItWasGivenOnOneLine) {
  const TemporaryFolder folder;
  const std::string path = folder / "corpus";
  {
    const auto corpus = make_corpus(path, 0);
    ASSERT_OK(put_metadata(*corpus, "a", "\n{\"z\": 1.50,\r\n \"b\": [1e2, \"l\\nine\"]}\n"));
    ASSERT_OK(put_metadata(*corpus, "b", "\xEF\xBB\xBF{\"mark\":1}"));
    ASSERT_OK(put_metadata(*corpus, "c", ""));
    ASSERT_OK(corpus->export_jsonl("law", folder / "export"));
  }
  std::ifstream in(folder / "export");
  std::vector<std::string> lines;
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_NE(lines[0].find("{\"z\": 1.50,   \"b\": [1e2, \"l\\nine\"]}"), std::string::npos);
  const nlohmann::json expected[] = {{{"z", 1.5}, {"b", {100.0, "l\nine"}}}, {{"mark", 1}}};
  for (std::size_t i = 0; i < 2; ++i) {
    const auto line = nlohmann::json::parse(lines[i], nullptr, false);
    ASSERT_TRUE(line.is_object()) << lines[i];
    EXPECT_EQ(line["metadata"], expected[i]);
    EXPECT_EQ(line["text"], "text");
  }
  EXPECT_TRUE(nlohmann::json::parse(lines[2])["metadata"].empty());
}

// A corpus from before there was a bound.
TEST(CorpusReview, ExportOfDeepMetadataNeedsNoStack) {
  const TemporaryFolder folder;
  const std::string path = folder / "corpus";
  ASSERT_OK(make_corpus(path, 0)->close());
  const std::string deep = nested(1000000);
  {
    const auto store = DocumentStore::open(path + "/store");
    ASSERT_OK(store);
    NewDocument document;
    document.document = {"deep", "title", "text", deep};
    CollectionRecord record = (*store)->collections()->find("law")->second;
    record.documents = 1;
    record.changed_seq = (*store)->commit_seq() + 1;
    DocumentStore::Batch batch(**store);
    batch.put_document(record.number, document, record.next_row);
    batch.log_put(record.number, "deep", record.next_row, 0);
    batch.put_collection("law", record);
    batch.put_commit_seq(record.changed_seq);
    ASSERT_OK((*store)->write(batch));
    ASSERT_OK((*store)->sync());
  }
  const auto corpus = Corpus::open(path);
  ASSERT_OK(corpus);
  EXPECT_EQ(*(*corpus)->export_jsonl("law", folder / "export"), 1u);
  EXPECT_EQ(read_bytes(folder / "export"),
            R"({"_id":"deep","title":"title","text":"text","metadata":)" + deep + "}\n");
}

TEST(CorpusReview, WhatAKilledExportLeftIsNotInTheWay) {
  const TemporaryFolder folder;
  const auto corpus = make_corpus(folder / "corpus", 2);
  const std::string left = folder / ("export." + std::to_string(::getpid()) + ".clgm-tmp");
  write_bytes(left, "left");
  EXPECT_EQ(*corpus->export_jsonl("law", folder / "export"), 2u);
  EXPECT_EQ(read_bytes(left), "left");
  fs::create_directories(folder / "in the way/of it");
  EXPECT_FALSE(corpus->export_jsonl("law", folder / "in the way").ok());
  fs::remove_all(folder / "corpus");
  fs::remove_all(folder / "in the way");
  EXPECT_EQ(files_in(folder.path()).size(), 2u) << "a failed export leaves nothing";
}

TEST(CorpusReview, AFailedReopenLeavesErrorsAndSearches) {
  const TemporaryFolder folder;
  const std::string path = folder / "corpus";
  const auto corpus = make_corpus(path, 20);
  const auto hits = corpus->search("law", row_of(1), 3);
  ASSERT_OK(hits);
  // A commit that is whole and was not published, and whose collection is beyond the store's: it is
  // opened, but not loaded.
  inside(*corpus).with_store([&](DocumentStore& store) {
    CollectionRecord record = store.collections()->find("law")->second;
    record.changed_seq += 100;
    DocumentStore::Batch batch(store);
    batch.put_collection("law", record);
    batch.put_record("last", "not published");
    batch.put_commit_seq(corpus->commit_seq() + 1);
    ASSERT_OK(store.write(batch));
    ASSERT_OK(store.sync());
  });
  EXPECT_EQ(*corpus->record("last"), "d19");
  EXPECT_CODE(corpus->reopen(), kCorruption);
  EXPECT_CODE(corpus->record("last"), kCorruption) << "nothing of the store is shown";
  EXPECT_CODE(corpus->flush_indexes(), kCorruption);
  EXPECT_CODE(corpus->sync(), kCorruption);
  EXPECT_CODE(corpus->compact(), kCorruption);
  EXPECT_CODE(put(*corpus, "x", "text", 1), kCorruption);
  const auto alone = corpus->search("law", row_of(1), 3);
  const auto batch = corpus->search_batch("law", row_of(1), 3);
  ASSERT_OK(alone);
  ASSERT_OK(batch);
  ASSERT_EQ(batch->size(), 1u);
  ASSERT_EQ(alone->size(), hits->size());
  for (std::size_t i = 0; i < hits->size(); ++i) {
    EXPECT_EQ((*alone)[i].document_id, (*hits)[i].document_id);
    EXPECT_EQ((*batch)[0][i].document_id, (*hits)[i].document_id);
  }
}

TEST(CorpusReview, OnlyRocksDbsOwnWordsMakeAStoreBusy) {
  const TemporaryFolder folder;
  const auto said = [&](const std::string& message) {
    return to_status(rocksdb::Status::IOError(message, "Input/output error"), "folder");
  };
  EXPECT_CODE(said("While pread: /data/clock/LOCKED/store/000012.sst"), kIoError);
  EXPECT_CODE(said("While open a file for lock: /x/While lock file/LOCK"), kIoError);
  EXPECT_CODE(said("While lock file: /x/LOCK"), kBusy);
  const auto corpus = make_corpus(folder / "corpus", 1);
  EXPECT_CODE(DocumentStore::open(folder / "corpus/store"), kBusy);
}

// An upgrade from version 1 that was cut off behind the summary and before the version.
TEST(CorpusReview, AnUpgradeBelievesNoPostingsThatItFinds) {
  const TemporaryFolder folder;
  const std::string path = folder / "corpus";
  copy_folder(std::string(COLLEGIUM_TEST_DATA) + "/corpora/v1", path);
  {
    const auto store = DocumentStore::open(path + "/store");
    ASSERT_OK(store);
    const auto collections = (*store)->collections();
    ASSERT_OK(collections);
    const CollectionRecord& record = collections->find("law")->second;
    LexicalSummary summary;
    summary.passages = record.passages;
    DocumentStore::Batch batch(**store);
    ASSERT_TRUE(
        batch.raw()
            .Put((*store)->lexical_tables().postings, summary_key(record.number), summary.write())
            .ok());
    ASSERT_OK((*store)->write(batch));
    ASSERT_OK((*store)->sync());
  }
  const auto corpus = Corpus::open(path);
  ASSERT_OK(corpus);
  EXPECT_TRUE((*corpus)->collection_info("law")->postings_rebuilt);
  const auto report = (*corpus)->verify();
  ASSERT_OK(report);
  EXPECT_TRUE(report->ok()) << describe(report->findings);
}

TEST(CorpusReview, VerifyReadsThePostings) {
  const TemporaryFolder folder;
  const std::string path = folder / "corpus";
  const auto corpus = make_corpus(path, 300);  // "text", "number": three blocks each
  for (std::size_t i = 0; i < 300; i += 7) ASSERT_OK(remove(*corpus, "d" + std::to_string(i)));
  {
    const auto report = corpus->verify();
    ASSERT_OK(report);
    EXPECT_TRUE(report->ok()) << describe(report->findings);
  }
  const auto damaged_by = [&](auto change) {
    std::string found;
    std::vector<std::pair<std::string, std::string>> before;
    inside(*corpus).with_store([&](DocumentStore& store) {
      const LexicalTables tables = store.lexical_tables();
      DocumentStore::Batch batch(store);
      const auto set = [&](rocksdb::ColumnFamilyHandle* family, const std::string& key, auto edit) {
        auto value = tables.get(family, key, nullptr);
        ASSERT_OK(value);
        ASSERT_TRUE(value->has_value());
        std::string changed = **value;
        edit(changed);
        ASSERT_TRUE(batch.raw().Put(family, key, changed).ok());
        ASSERT_OK(store.write(batch));
        const auto report = corpus->verify();
        ASSERT_OK(report);
        found = describe(report->findings);
        DocumentStore::Batch back(store);
        ASSERT_TRUE(back.raw().Put(family, key, **value).ok());
        ASSERT_OK(store.write(back));
      };
      change(tables, set);
    });
    return found;
  };
  const std::string key = term_key(0, "number");
  EXPECT_NE(damaged_by([&](const LexicalTables& tables, auto set) {
              set(tables.postings, key, [](std::string& value) { value[0] ^= 1; });  // its count
            }).find("its blocks hold"),
            std::string::npos);
  EXPECT_NE(damaged_by([&](const LexicalTables& tables, auto set) {
              set(tables.postings, key, [](std::string& value) { value[8] ^= 1; });  // base row
            }).find("term 'number'"),
            std::string::npos);
  EXPECT_NE(damaged_by([&](const LexicalTables& tables, auto set) {
              set(tables.positions, key, [](std::string& value) { value.pop_back(); });
            }).find("positions are malformed"),
            std::string::npos);
  EXPECT_NE(damaged_by([&](const LexicalTables& tables, auto set) {
              set(tables.postings, summary_key(0), [](std::string& value) {
                LexicalSummary summary;
                ASSERT_TRUE(summary.read(value));
                summary.words += 1;
                value = summary.write();
              });
            }).find("words, the summary says"),
            std::string::npos);
  const auto report = corpus->verify();
  ASSERT_OK(report);
  EXPECT_TRUE(report->ok()) << describe(report->findings);
}

TEST(CorpusReview, VerifyComparesTheMetadataOfTheIndexFile) {
  const TemporaryFolder folder;
  const auto corpus = make_corpus(folder / "corpus", 3);
  ASSERT_OK(corpus->flush_indexes());
  inside(*corpus).with_store([&](DocumentStore& store) {
    auto stored = store.stored_document(0, "d1");
    ASSERT_OK(stored);
    const auto entry = store.entry(0, "d1");
    ASSERT_OK(entry);
    (*stored)->document.metadata = R"({"n":9})";
    DocumentStore::Batch batch(store);
    batch.put_document(0, **stored, (*entry)->first_row);
    ASSERT_OK(store.write(batch));
  });
  const auto report = corpus->verify();
  ASSERT_OK(report);
  EXPECT_NE(describe(report->findings).find("differs from the store at row 2"), std::string::npos)
      << describe(report->findings);
}

TEST(CorpusReview, APassageOutsideItsStoredTextIsCorruption) {
  const TemporaryFolder folder;
  const auto corpus = make_corpus(folder / "corpus", 2);
  inside(*corpus).with_store([&](DocumentStore& store) {
    auto stored = store.stored_document(0, "d1");
    ASSERT_OK(stored);
    const auto entry = store.entry(0, "d1");
    ASSERT_OK(entry);
    (*stored)->passages[0].bytes = {1000, 2000};
    DocumentStore::Batch batch(store);
    batch.put_document(0, **stored, (*entry)->first_row);
    ASSERT_OK(store.write(batch));
  });
  EXPECT_CODE(remove(*corpus, "d1"), kCorruption);
  EXPECT_OK(remove(*corpus, "d0")) << "nothing of the other was written";
}

}  // namespace
}  // namespace collegium::index
