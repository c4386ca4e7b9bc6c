// What verify finds, and what repair saves.
#include <rocksdb/db.h>

#include <algorithm>
#include <functional>
#include <limits>
#include <map>
#include <random>

#include "corpus_contents.h"
#include "corpus_law.h"

namespace collegium::index {
namespace {

namespace fs = std::filesystem;
constexpr std::size_t kDim = kLawDim;

// Puts or removes a key behind the library's back.
void tamper(const std::string& path, const std::string& family,
            const std::function<void(rocksdb::DB&, rocksdb::ColumnFamilyHandle*)>& change) {
  std::vector<std::string> names;
  ASSERT_TRUE(rocksdb::DB::ListColumnFamilies({}, path + "/store", &names).ok());
  std::vector<rocksdb::ColumnFamilyDescriptor> families;
  for (const std::string& name : names) families.emplace_back(name, rocksdb::ColumnFamilyOptions());
  std::vector<rocksdb::ColumnFamilyHandle*> handles;
  rocksdb::DB* opened = nullptr;
  ASSERT_TRUE(
      rocksdb::DB::Open(rocksdb::DBOptions(), path + "/store", families, &handles, &opened).ok());
  const std::unique_ptr<rocksdb::DB> db(opened);
  for (std::size_t i = 0; i < names.size(); ++i)
    if (names[i] == family) change(*db, handles[i]);
  for (rocksdb::ColumnFamilyHandle* handle : handles)
    EXPECT_TRUE(db->DestroyColumnFamilyHandle(handle).ok());
}
std::string key_of(const std::string& id) { return std::string(4, '\0') + id; }

TEST(CorpusVerify, CountsAWholeCorpusAndFindsNothing) {
  const TemporaryFolder folder;
  const auto corpus = make_corpus(folder / "corpus", 20, /*hnsw_threshold=*/10);
  ASSERT_OK(remove(*corpus, "d3"));
  ASSERT_OK(put(*corpus, "d4", "another text", 4));
  ASSERT_OK(corpus->flush_indexes());
  const auto files = files_in(folder / "corpus");
  for (int round = 0; round < 3; ++round) {
    const auto report = corpus->verify();
    ASSERT_OK(report);
    EXPECT_TRUE(report->ok()) << describe(report->findings);
    EXPECT_EQ(report->commit_seq, corpus->commit_seq());
    EXPECT_EQ(report->collections, 1u);
    EXPECT_EQ(report->documents, 19u);
    EXPECT_EQ(report->passages, 19u);
    EXPECT_EQ(report->records, 1u);
    if (round == 0) {
      EXPECT_EQ(files_in(folder / "corpus"), files);
    }
    if (round == 1) {
      ASSERT_OK(corpus->purge());
    }
  }
  EXPECT_CODE(Corpus::verify_folder(folder / "none"), kNotFound);
}

TEST(CorpusVerify, FindsWhatContradictsItself) {
  const TemporaryFolder folder;
  const std::string path = folder / "corpus";
  static_cast<void>(make_corpus(path, 10));
  using Db = rocksdb::DB;
  using Handle = rocksdb::ColumnFamilyHandle*;
  const std::string number(4, '\0');
  std::string row = number + number + std::string(8, '\0');
  row.back() = 3;
  const struct {
    const char* family;
    std::function<void(Db&, Handle)> change;
    const char* finding;
  } cases[] = {
      {"documents", [](Db& db, Handle f) { EXPECT_TRUE(db.Delete({}, f, key_of("d4")).ok()); },
       "document 'd4' of collection 0: lacks its text"},
      {"documents",
       [](Db& db, Handle f) {
         std::string value;
         EXPECT_TRUE(db.Get({}, f, key_of("d4"), &value).ok());
         EXPECT_TRUE(db.Put({}, f, key_of("ghost"), value).ok());
       },
       "document 'ghost' of collection 0: is not in the directory"},
      {"documents",
       [](Db& db, Handle f) { EXPECT_TRUE(db.Put({}, f, key_of("d4"), "short").ok()); },
       "document 'd4' of collection 0: its text is malformed"},
      {"directory", [](Db& db, Handle f) { EXPECT_TRUE(db.Delete({}, f, key_of("d5")).ok()); },
       "document 'd5' of collection 0: is in the change log, but not in the "
       "directory"},
      {"directory",
       [](Db& db, Handle f) {
         std::string value;
         EXPECT_TRUE(db.Get({}, f, key_of("d5"), &value).ok());
         EXPECT_TRUE(db.Put({}, f, key_of("d6"), value).ok());
       },
       "document 'd6' of collection 0: shares row"},
      {"vectors", [&](Db& db, Handle f) { EXPECT_TRUE(db.Delete({}, f, row).ok()); },
       "lacks the vector of row 3"},
      {"vectors",
       [&](Db& db, Handle f) {
         const std::vector<float> bad(kDim, std::numeric_limits<float>::quiet_NaN());
         EXPECT_TRUE(
             db.Put({}, f, row, {reinterpret_cast<const char*>(bad.data()), kDim * 4}).ok());
       },
       "vector 3 of collection 0: is not finite"},
      {"default",
       [](Db& db, Handle f) {
         EXPECT_TRUE(db.Delete({}, f, std::string("l/") + std::string(7, '\0') + '\x05').ok());
       },
       "commit 5: is not in the change log"},
      {"default",
       [](Db& db, Handle f) {
         std::string value;
         EXPECT_TRUE(db.Get({}, f, "c/law", &value).ok());
         value[12] = 77;  // documents
         EXPECT_TRUE(db.Put({}, f, "c/law", value).ok());
       },
       "has 10 documents and 10 passages, its record says 77 and 10"},
  };
  for (const auto& one : cases) {
    const std::string copy = folder / "copy";
    copy_folder(path, copy);
    tamper(copy, one.family, one.change);
    fs::remove_all(copy + "/index");  // it would open from the index, rebuilding may fail: both
    const auto report = Corpus::verify_folder(copy);
    ASSERT_OK(report);
    EXPECT_FALSE(report->ok()) << one.finding;
    copy_folder(path + "/index", copy + "/index");
    const auto with_index = Corpus::verify_folder(copy);
    ASSERT_OK(with_index);
    EXPECT_NE(describe(with_index->findings).find(one.finding), std::string::npos)
        << "saw " << describe(with_index->findings) << "wanted " << one.finding;
  }
}

TEST(CorpusVerify, FindsAnIndexFileThatDiffersFromTheStore) {
  const TemporaryFolder folder;
  const std::string path = folder / "corpus";
  const auto corpus = make_corpus(path, 10);
  ASSERT_OK(corpus->flush_indexes());
  const std::string good = read_bytes(path + "/index/0.index");
  std::string bad = good;
  bad[good.size() / 2] ^= 1;
  write_bytes(path + "/index/0.index", bad);
  const auto report = corpus->verify();
  ASSERT_OK(report);
  ASSERT_EQ(report->findings.size(), 1u) << describe(report->findings);
  EXPECT_NE(report->findings[0].where.find("0.index"), std::string::npos);
}

TEST(CorpusRepair, SavesAllOfAWholeCorpus) {
  const TemporaryFolder folder;
  auto corpus = make_corpus(folder / "corpus", 40);
  for (int i = 0; i < 40; i += 3) ASSERT_OK(remove(*corpus, "d" + std::to_string(i)));
  ASSERT_OK(corpus->close());
  const auto files = files_in(folder / "corpus");
  const auto report = Corpus::repair(folder / "corpus", folder / "saved");
  ASSERT_OK(report);
  EXPECT_TRUE(report->dropped.empty()) << describe(report->dropped);
  EXPECT_EQ(report->documents, 26u);
  EXPECT_EQ(report->records, 1u);
  EXPECT_EQ(files_in(folder / "corpus"), files);
  const auto saved = Corpus::open(folder / "saved");
  ASSERT_OK(saved);
  const auto original = Corpus::open(folder / "corpus");
  ASSERT_OK(original);
  for (int i = 0; i < 40; ++i) {
    const std::string id = "d" + std::to_string(i);
    if (i % 3 == 0) {
      EXPECT_CODE((*saved)->document("law", id), kNotFound);
      continue;
    }
    const auto a = (*saved)->stored_document("law", id);
    const auto b = (*original)->stored_document("law", id);
    ASSERT_OK(a);
    EXPECT_EQ(a->document.text, b->document.text);
    EXPECT_EQ(a->document.metadata, b->document.metadata);
    EXPECT_EQ(a->vectors, b->vectors);
    EXPECT_EQ(a->passages[0].section, b->passages[0].section);
  }
  EXPECT_CODE(Corpus::repair(folder / "corpus", folder / "saved"), kAlreadyExists);
  EXPECT_CODE(Corpus::repair(folder / "none", folder / "other"), kNotFound);
}

// Versions of the same documents and removals lie in tables above one another. Whatever is damaged,
// what is saved is what was last written, and what was removed does not come back.
TEST(CorpusRepair, SlowNeverInventsNorResurrectsWhateverTableIsDamaged) {
  const TemporaryFolder folder;
  const std::string path = folder / "corpus";
  std::map<std::string, std::string> expected;
  {
    auto corpus = make_corpus(path, 0);
    for (int generation = 0; generation < 3; ++generation) {
      for (int i = 0; i < 60; ++i) {
        const std::string id = "d" + std::to_string(i);
        const std::string text = "generation " + std::to_string(generation) + " of " + id +
                                 std::string(200, static_cast<char>('a' + generation));
        if (generation > 0 && (i + generation) % 5 == 0) {
          if (expected.erase(id) == 1) {
            ASSERT_OK(remove(*corpus, id));
          }
        } else if (generation == 0 || (i + generation) % 3 == 0) {
          ASSERT_OK(put(*corpus, id, text, static_cast<std::size_t>(i)));
          expected[id] = text;
        }
      }
      ASSERT_OK(corpus->close());
      auto again = Corpus::open(path);  // moves the log into a table of its own
      ASSERT_OK(again);
      corpus = std::move(*again);
    }
  }
  const auto files = files_in(path);
  const auto tables = std::count_if(files.begin(), files.end(),
                                    [](const std::string& name) { return name.ends_with(".sst"); });
  ASSERT_GE(tables, 10) << "above one another";
  std::mt19937 random(5);
  int repaired = 0;
  int dropped = 0;
  for (const std::string& name : files) {
    if (!name.ends_with(".sst")) continue;
    for (int attempt = 0; attempt < 6; ++attempt) {
      copy_folder(path, folder / "copy");
      const std::string file = folder / ("copy/" + name);
      std::string bytes = read_bytes(file);
      if (attempt == 5)
        fs::remove(file);
      else if (attempt == 4)
        fs::resize_file(file, bytes.size() / 2);
      else {
        bytes[attempt == 0 ? 20 : random() % bytes.size()] ^= 4;
        write_bytes(file, bytes);
      }
      fs::remove_all(folder / "saved");
      const auto report = Corpus::repair(folder / "copy", folder / "saved");
      if (!report.ok()) {  // the settings lie in the tables of the default family
        EXPECT_CODE(report, kCorruption) << name;
        EXPECT_FALSE(fs::exists(folder / "saved"));
        continue;
      }
      ++repaired;
      const auto saved = Corpus::open(folder / "saved");
      ASSERT_OK(saved);
      const auto verified = (*saved)->verify();
      ASSERT_OK(verified);
      EXPECT_TRUE(verified->ok()) << describe(verified->findings);
      std::size_t found = 0;
      for (int i = 0; i < 60; ++i) {
        const std::string id = "d" + std::to_string(i);
        const auto document = (*saved)->stored_document("law", id);
        if (!document.ok()) continue;
        ++found;
        ASSERT_EQ(expected.count(id), 1u) << id << " was removed; " << name << " " << attempt;
        EXPECT_EQ(document->document.text, expected[id]) << name << " " << attempt;
        EXPECT_EQ(document->vectors, row_of(static_cast<std::size_t>(i)));
      }
      EXPECT_EQ(found, report->documents);
      if (found < expected.size()) {
        EXPECT_FALSE(report->dropped.empty());
        ++dropped;
      }
    }
  }
  EXPECT_GE(repaired, 30);
  EXPECT_GE(dropped, 10);
}

TEST(CorpusRepair, SaysWhichCommitsADamagedLogLost) {
  const TemporaryFolder folder;
  const std::string path = folder / "corpus";
  static_cast<void>(make_corpus(path, 20));
  copy_folder(path, folder / "copy");
  std::string log;
  for (const std::string& name : files_in(path))
    if (name.ends_with(".log") && fs::file_size(path + "/" + name) > 0) log = name;
  std::string bytes = read_bytes(path + "/" + log);
  bytes[bytes.find("text number 7")] ^= 1;
  write_bytes(path + "/" + log, bytes);
  EXPECT_CODE(Corpus::open(path), kCorruption);
  const auto report = Corpus::repair(path, folder / "saved");
  ASSERT_OK(report);
  EXPECT_NE(describe(report->dropped).find("commit 9: cannot be read"), std::string::npos)
      << describe(report->dropped);
  const auto saved = Corpus::open(folder / "saved");
  ASSERT_OK(saved);
  EXPECT_OK((*saved)->document("law", "d6"));
  EXPECT_CODE((*saved)->document("law", "d7"), kNotFound);
}

TEST(CorpusRepair, RefusesWhenTheListOfFilesIsGone) {
  const TemporaryFolder folder;
  const std::string path = folder / "corpus";
  static_cast<void>(make_corpus(path, 5));
  fs::remove(path + "/store/CURRENT");
  EXPECT_CODE(Corpus::repair(path, folder / "saved"), kCorruption);
  EXPECT_FALSE(fs::exists(folder / "saved"));
}

// RocksDB takes an earlier list for a torn one, and would find the files that it names.
TEST(CorpusRepair, RefusesAnEarlierListOfFiles) {
  const TemporaryFolder folder;
  const std::string path = folder / "corpus";
  {
    const auto corpus = make_corpus(path, 5);
    ASSERT_OK(corpus->compact());
    ASSERT_OK(remove(*corpus, "d3"));
    ASSERT_OK(corpus->compact());
  }
  std::string manifest;
  for (const std::string& name : files_in(path))
    if (name.find("MANIFEST") != std::string::npos) manifest = path + "/" + name;
  const std::string bytes = read_bytes(manifest);
  for (std::size_t size = 0; size < bytes.size(); size += 1 + bytes.size() / 40) {
    write_bytes(manifest, bytes.substr(0, size));
    EXPECT_CODE(Corpus::repair(path, folder / "saved"), kCorruption) << size;
  }
  write_bytes(manifest, bytes);
  const auto report = Corpus::repair(path, folder / "saved");
  ASSERT_OK(report);
  EXPECT_EQ(report->documents, 4u);
}

}  // namespace
}  // namespace collegium::index
