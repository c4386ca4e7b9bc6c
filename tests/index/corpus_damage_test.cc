// What happens when files of a corpus are damaged, lost or rolled back: either the damage is a
// typed error, or it does no harm. Never another answer, never a crash.
#include <rocksdb/db.h>
#include <sys/mount.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <random>
#include <set>

#include "collegium/core/bytes.h"
#include "collegium/core/file_envelope.h"
#include "collegium/index/corpus.h"
#include "corpus_contents.h"
#include "corpus_testing.h"

namespace collegium::index {
namespace {

namespace fs = std::filesystem;
constexpr std::size_t kDim = 8;

void put_documents(Corpus& corpus, std::size_t begin, std::size_t end) {
  const auto rows = clustered_rows(end, kDim, 7, 3);
  for (std::size_t i = begin; i < end; ++i) {
    WriteSet writes;
    writes.put_document(
        "law", make_document("d" + std::to_string(i), 1,
                             {rows.begin() + static_cast<std::ptrdiff_t>(i * kDim),
                              rows.begin() + static_cast<std::ptrdiff_t>((i + 1) * kDim)}));
    writes.put_record("r" + std::to_string(i % 5), std::to_string(i));
    ASSERT_OK(corpus.commit(std::move(writes)));
  }
}

// A corpus with table files (the first half of its documents) and a live log (the others).
void make_corpus(const std::string& path, std::size_t documents = 40) {
  {
    auto corpus = Corpus::create(path, {kDim, "digest"});
    ASSERT_OK(corpus);
    WriteSet writes;
    writes.create_collection("law");
    ASSERT_OK((*corpus)->commit(std::move(writes)));
    put_documents(**corpus, 0, documents / 2);
  }
  auto corpus = Corpus::open(path);  // moves the log into tables
  ASSERT_OK(corpus);
  put_documents(**corpus, documents / 2, documents);
}

TEST(CorpusDamage, AnIndexFileIsRebuiltWhenMissingTruncatedFlippedOrAnothers) {
  const TemporaryFolder folder;
  const std::string path = folder / "corpus";
  make_corpus(path);
  const auto whole = contents(path);
  ASSERT_OK(whole);
  const fs::path file = path + "/index/0.index";
  const std::string good = read_bytes(file);
  const auto expect_rebuilt = [&](const std::string& note) {
    {
      const auto corpus = Corpus::open(path);
      ASSERT_OK(corpus);
      const auto info = (*corpus)->collection_info("law");
      ASSERT_OK(info);
      EXPECT_TRUE(info->index_rebuilt);
      EXPECT_NE(info->index_note.find(note), std::string::npos) << info->index_note;
    }
    EXPECT_EQ(read_bytes(file), good) << "closing writes the file that was there before";
    EXPECT_FALSE((*Corpus::open(path))->collection_info("law")->index_rebuilt);
    EXPECT_EQ(*contents(path), *whole);
  };
  fs::remove(file);
  expect_rebuilt("not_found");
  write_bytes(file, good.substr(0, good.size() / 2));
  expect_rebuilt("corruption");
  write_bytes(file, "");
  expect_rebuilt("corruption");
  std::mt19937 random(1);
  for (int i = 0; i < 20; ++i) {
    std::string bad = good;
    bad[random() % bad.size()] ^= static_cast<char>(1 << random() % 8);
    write_bytes(file, bad);
    // A flip in the version can also read as a newer file.
    expect_rebuilt(": ");
  }
  // Whole, but of a corpus with another encoder.
  const TemporaryFolder other;
  {
    auto corpus = Corpus::create(other / "corpus", {kDim, "another"});
    WriteSet writes;
    writes.create_collection("law");
    ASSERT_OK((*corpus)->commit(std::move(writes)));
  }
  fs::copy_file(other / "corpus/index/0.index", file, fs::copy_options::overwrite_existing);
  expect_rebuilt("encoder 'another'");
  // Whole, and of a corpus that is like this one in everything but its documents.
  make_corpus(other / "twin", 40);
  fs::copy_file(other / "twin/index/0.index", file, fs::copy_options::overwrite_existing);
  expect_rebuilt("belongs to corpus ");
  // Sealed with right checksums, senseless inside.
  const std::string senseless(100, '\x5a');
  ASSERT_OK(core::write_file_envelope(file, {"index", 3}, std::as_bytes(std::span(senseless))));
  expect_rebuilt("corruption");
  ASSERT_OK(core::write_file_envelope(file, {"index", 4}, std::as_bytes(std::span(senseless))));
  expect_rebuilt("version 4");
}

TEST(CorpusDamage, AnIndexFileBehindTheStoreIsBroughtForwardAndOneAheadIsLostData) {
  const TemporaryFolder folder;
  const std::string path = folder / "corpus";
  make_corpus(path);
  copy_folder(path, folder / "before");
  {
    auto corpus = Corpus::open(path);
    ASSERT_OK(corpus);
    put_documents(**corpus, 40, 41);
  }
  const std::string file = path + "/index/0.index";
  copy_folder(path, folder / "after");
  fs::copy_file(folder / "before/index/0.index", file, fs::copy_options::overwrite_existing);
  const auto opened = Corpus::open(path);
  ASSERT_OK(opened);
  EXPECT_NE((*opened)->collection_info("law")->index_note.find("is at commit 41, the store at 42"),
            std::string::npos)
      << (*opened)->collection_info("law")->index_note;

  fs::copy_file(folder / "after/index/0.index", folder / "before/index/0.index",
                fs::copy_options::overwrite_existing);
  const Status ahead = Corpus::open(folder / "before").status();
  EXPECT_EQ(ahead.code(), StatusCode::kCorruption);
  EXPECT_NE(ahead.message().find("acknowledged data is lost"), std::string::npos)
      << ahead.message();
}

TEST(CorpusDamage, AStoreRolledBackBehindItsMarkerIsLostData) {
  const TemporaryFolder folder;
  const std::string path = folder / "corpus";
  make_corpus(path);
  copy_folder(path + "/store", folder / "store");
  {
    auto corpus = Corpus::open(path);
    ASSERT_OK(corpus);
    WriteSet writes;  // touches no collection, so that no index file can tell
    writes.put_record("r0", "new");
    ASSERT_OK((*corpus)->commit(std::move(writes)));
  }
  copy_folder(folder / "store", path + "/store");
  const Status behind = Corpus::open(path).status();
  EXPECT_EQ(behind.code(), StatusCode::kCorruption);
  EXPECT_NE(behind.message().find("is at commit 41, but commit 42 was acknowledged"),
            std::string::npos)
      << behind.message();
}

TEST(CorpusDamage, MissingFilesOfTheStoreAreCorruption) {
  const TemporaryFolder folder;
  const std::string path = folder / "corpus";
  const std::string copy = folder / "copy";
  make_corpus(path);
  std::vector<fs::path> needed = {"COMMITTED", "store"};
  for (const auto& entry : fs::directory_iterator(path + "/store")) {
    const std::string name = entry.path().filename();
    if (name == "CURRENT" || name.starts_with("MANIFEST") || name.ends_with(".sst") ||
        (name.ends_with(".log") && fs::file_size(entry) > 0))
      needed.push_back("store/" + name);
  }
  ASSERT_GE(needed.size(), 8u);
  for (const fs::path& name : needed) {
    copy_folder(path, copy);
    ASSERT_GT(fs::remove_all(copy / name), 0u);
    EXPECT_CODE(contents(copy), kCorruption) << name;
  }
}

TEST(CorpusDamage, ATruncatedLogLosesNothingOrIsCorruption) {
  const TemporaryFolder folder;
  const std::string path = folder / "corpus";
  const std::string copy = folder / "copy";
  make_corpus(path, 8);
  fs::remove_all(path + "/index");  // nothing but the store and its marker shall tell
  const auto whole = contents(path);
  ASSERT_OK(whole);
  fs::remove_all(path);
  make_corpus(path, 8);
  fs::remove_all(path + "/index");
  std::string log;
  for (const auto& entry : fs::directory_iterator(path + "/store"))
    if (entry.path().extension() == ".log" && fs::file_size(entry) > 0)
      log = "/store/" + entry.path().filename().string();
  const std::string bytes = read_bytes(path + log);
  ASSERT_GT(bytes.size(), 1000u);
  std::size_t tried = 0;
  for (std::size_t size = 0; size < bytes.size(); size += 1 + bytes.size() / 60, ++tried) {
    copy_folder(path, copy);
    fs::resize_file(copy + log, size);
    EXPECT_CODE(contents(copy), kCorruption) << size << " of " << bytes.size();
  }
  EXPECT_GE(tried, 50u);
  EXPECT_EQ(*contents(path), *whole);
}

// Where the records of RocksDB's MANIFEST begin (its log format: u32 checksum, u16 length, u8 type,
// and `length` bytes), then where the last ends.
std::vector<std::size_t> record_bounds(const std::string& manifest) {
  std::vector<std::size_t> bounds = {0};
  while (bounds.back() + 7 <= manifest.size())
    bounds.push_back(bounds.back() + 7 +
                     (static_cast<unsigned char>(manifest[bounds.back() + 4]) |
                      static_cast<unsigned char>(manifest[bounds.back() + 5]) << 8));
  return bounds;
}

// A corpus in `path` whose MANIFEST is returned with its name, and what it holds.
struct ManifestCase {
  std::string name;
  std::string bytes;
  std::string whole;
  std::vector<std::size_t> bounds;
};
ManifestCase make_manifest_case(const std::string& path, const std::string& copy) {
  make_corpus(path, 8);
  copy_folder(path, copy);
  ManifestCase made;
  made.whole = *contents(copy);
  for (const auto& entry : fs::directory_iterator(path + "/store"))
    if (entry.path().filename().string().starts_with("MANIFEST"))
      made.name = "/store/" + entry.path().filename().string();
  made.bytes = read_bytes(path + made.name);
  made.bounds = record_bounds(made.bytes);
  EXPECT_GE(made.bounds.size(), 8u);
  EXPECT_EQ(made.bounds.back(), made.bytes.size());
  return made;
}
void expect_whole_or_corruption(const std::string& copy, const ManifestCase& made,
                                const std::string& what, int& noticed) {
  const auto read = contents(copy);
  if (read.ok()) {
    EXPECT_EQ(*read, made.whole) << what;
  } else {
    EXPECT_CODE(read, kCorruption) << what;
    ++noticed;
  }
}

// RocksDB takes the rest of such a MANIFEST for torn, and forgets the files that it names.
TEST(CorpusDamage, AManifestThatLostItsEndLosesNothingOrIsCorruption) {
  const TemporaryFolder folder;
  const std::string copy = folder / "copy";
  const ManifestCase made = make_manifest_case(folder / "corpus", copy);
  int noticed = 0;
  for (const std::size_t bound : made.bounds)
    for (const std::size_t size : {bound, bound + 9}) {
      if (size >= made.bytes.size()) continue;
      copy_folder(folder / "corpus", copy);
      fs::resize_file(copy + made.name, size);
      expect_whole_or_corruption(copy, made, "cut to " + std::to_string(size), noticed);
      // No table was deleted meanwhile: with its MANIFEST the corpus is there again.
      write_bytes(copy + made.name, made.bytes);
      const auto again = contents(copy);
      ASSERT_OK(again);
      EXPECT_EQ(*again, made.whole);
    }
  EXPECT_GE(noticed, 8);
}

TEST(CorpusDamage, AFailedOpenDeletesNothingThatCouldStillHelp) {
  const TemporaryFolder folder;
  const std::string path = folder / "corpus";
  make_corpus(path, 8);
  copy_folder(path, folder / "copy");
  const auto whole = contents(folder / "copy");
  ASSERT_OK(whole);
  std::string log;
  for (const auto& entry : fs::directory_iterator(path + "/store"))
    if (entry.path().extension() == ".log" && fs::file_size(entry) > 0) log = entry.path().string();
  const std::string bytes = read_bytes(log);
  ASSERT_GT(bytes.size(), 1000u);
  write_bytes(log, bytes.substr(0, bytes.size() - 10));
  EXPECT_CODE(contents(path), kCorruption);
  EXPECT_EQ(read_bytes(log).size(), bytes.size() - 10) << "the torn log is still there";
  write_bytes(log, bytes);
  const auto again = contents(path);
  ASSERT_OK(again);
  EXPECT_EQ(*again, *whole);
}

TEST(CorpusDamage, AFolderThatMerelyHasAStoreIsNoCorpusAndIsLeftAlone) {
  const TemporaryFolder folder;
  const std::string path = folder / "shop";
  fs::create_directories(path + "/store/shelves");
  EXPECT_CODE(Corpus::open(path), kNotFound);
  EXPECT_FALSE(fs::exists(path + "/OWNER"));
}

TEST(CorpusDamage, SlowAFlippedLengthOrTypeInTheManifestLosesNothingOrIsCorruption) {
  const TemporaryFolder folder;
  const std::string copy = folder / "copy";
  const ManifestCase made = make_manifest_case(folder / "corpus", copy);
  int noticed = 0;
  for (std::size_t record = 0; record + 1 < made.bounds.size(); ++record)
    for (int bit = 0; bit < 24; ++bit) {  // two bytes of length, one of type
      copy_folder(folder / "corpus", copy);
      std::string bytes = made.bytes;
      bytes[made.bounds[record] + 4 + bit / 8] ^= static_cast<char>(1 << bit % 8);
      write_bytes(copy + made.name, bytes);
      expect_whole_or_corruption(
          copy, made, "record " + std::to_string(record) + " bit " + std::to_string(bit), noticed);
    }
  EXPECT_GE(noticed, 100);
}

// Damages a file of a corpus `rounds` times, each kind of file in turn: a bit flips, or (every
// fourth time) its end is missing. The corpus has a graph, tables of several ages and a live log.
void damage_files(std::uint64_t rounds, std::uint32_t seed) {
  const TemporaryFolder folder;
  const std::string path = folder / "corpus";
  const std::string copy = folder / "copy";
  {
    auto corpus = Corpus::create(path, {kDim, "digest", /*hnsw_threshold=*/15});
    ASSERT_OK(corpus);
    WriteSet writes;
    writes.create_collection("law");
    ASSERT_OK((*corpus)->commit(std::move(writes)));
    put_documents(**corpus, 0, 25);
    ASSERT_OK((*corpus)->compact());
    put_documents(**corpus, 10, 30);
    ASSERT_OK((*corpus)->close());
    auto again = Corpus::open(path);
    ASSERT_OK(again);
    put_documents(**again, 25, 40);
  }
  copy_folder(path, copy);
  const auto whole = contents(copy);
  ASSERT_OK(whole);
  std::map<std::string, std::vector<std::string>> kinds;
  for (const std::string& name : files_in(path)) {
    if (fs::file_size(path + "/" + name) == 0) continue;
    const std::string file = fs::path(name).filename();
    kinds[file.substr(0, file.find_first_of("-0123456789")) + fs::path(name).extension().string()]
        .push_back(name);
  }
  ASSERT_GE(kinds.size(),
            9u);  // OWNER, COMMITTED, CURRENT, IDENTITY, MANIFEST, OPTIONS, three more
  std::mt19937 random(seed);
  std::map<std::string, std::uint64_t> noticed;
  std::map<std::string, std::uint64_t> tried;
  for (std::uint64_t i = 0; i < rounds;) {
    for (const auto& [kind, names] : kinds) {
      const std::string& name = names[random() % names.size()];
      copy_folder(path, copy);
      std::string bytes = read_bytes(copy + "/" + name);
      const std::size_t at = random() % bytes.size();
      const bool cut = random() % 4 == 0;
      if (cut)
        bytes.resize(at);
      else
        bytes[at] ^= static_cast<char>(1 << random() % 8);
      write_bytes(copy + "/" + name, bytes);
      const auto read = contents(copy);
      ++tried[kind];
      if (read.ok()) {
        EXPECT_EQ(*read, *whole) << name << (cut ? " cut at byte " : " flipped at byte ") << at;
      } else {
        EXPECT_CODE(read, kCorruption)
            << name << (cut ? " cut at byte " : " flipped at byte ") << at;
        ++noticed[kind];
      }
      ++i;
    }
  }
  EXPECT_GT(noticed[".sst"], 0u);
  EXPECT_GT(noticed[".log"], 0u);
  EXPECT_EQ(noticed[".index"], 0u) << "an index file is rebuilt";
  for (const auto& [kind, count] : tried)
    ::testing::Test::RecordProperty("tried" + kind, std::to_string(count));
}

TEST(CorpusDamage, DamageToAnyFileIsCorruptionOrHarmless) { damage_files(60, 1); }
TEST(CorpusDamage, SlowDamageToAnyFileIsCorruptionOrHarmless) {
  damage_files(fault_rounds(2000), fault_seed(2));
}

TEST(CorpusDamage, ANewerStoreSaysBothVersions) {
  const TemporaryFolder folder;
  const std::string path = folder / "corpus";
  make_corpus(path);
  {  // a later build has a family of its own, too
    const std::string store = path + "/store";
    std::vector<std::string> names;
    ASSERT_TRUE(rocksdb::DB::ListColumnFamilies({}, store, &names).ok());
    names.push_back("postings");
    std::vector<rocksdb::ColumnFamilyDescriptor> families;
    for (const std::string& name : names)
      families.emplace_back(name, rocksdb::ColumnFamilyOptions());
    rocksdb::DBOptions options;
    options.create_missing_column_families = true;
    std::vector<rocksdb::ColumnFamilyHandle*> handles;
    rocksdb::DB* opened = nullptr;
    ASSERT_TRUE(rocksdb::DB::Open(options, store, families, &handles, &opened).ok());
    const std::unique_ptr<rocksdb::DB> db(opened);
    EXPECT_TRUE(db->Put({}, "m/format", std::string("\x07\0\0\0", 4)).ok());
    for (rocksdb::ColumnFamilyHandle* handle : handles)
      EXPECT_TRUE(db->DestroyColumnFamilyHandle(handle).ok());
  }
  const Status newer = Corpus::open(path).status();
  EXPECT_EQ(newer.code(), StatusCode::kNotSupported);
  EXPECT_NE(newer.message().find("has version 7, this build reads up to 2"), std::string::npos)
      << newer.message();
}

TEST(CorpusDamage, AFullDiskRefusesTheCommitAndLosesNothing) {
  const TemporaryFolder folder;
  const std::string disk = folder / "disk";
  fs::create_directory(disk);
  if (::mount("tmpfs", disk.c_str(), "tmpfs", 0, "size=6m") != 0)
    GTEST_SKIP() << "mounting a small tmpfs needs root";
  const std::string path = disk + "/corpus";
  const auto test = [&] {
    auto opened = Corpus::create(path, {kDim, "digest"});
    ASSERT_OK(opened);
    Corpus& corpus = **opened;
    WriteSet create;
    create.create_collection("law");
    ASSERT_OK(corpus.commit(std::move(create)));
    std::mt19937 random(1);
    std::size_t acknowledged = 0;
    Status refused;
    while (acknowledged < 2000) {
      NewDocument document =
          make_document("d" + std::to_string(acknowledged), 1, std::vector<float>(kDim, 1.0f));
      for (int i = 0; i < 20000; ++i)  // letters at random: they do not pack well
        document.document.text.push_back(static_cast<char>('a' + random() % 26));
      WriteSet writes;
      writes.put_document("law", std::move(document));
      refused = corpus.commit(std::move(writes)).status();
      if (!refused.ok()) break;
      ++acknowledged;
    }
    EXPECT_EQ(refused.code(), StatusCode::kResourceExhausted) << refused.to_string();
    ASSERT_GT(acknowledged, 10u);
    // It says so again, and goes on reading.
    WriteSet again;
    again.put_record("key", "value");
    EXPECT_CODE(corpus.commit(std::move(again)), kResourceExhausted);
    const auto hits = corpus.search("law", std::vector<float>(kDim, 1.0f), 5000);
    ASSERT_OK(hits);
    EXPECT_EQ(hits->size(), acknowledged);
    EXPECT_OK(corpus.document("law", "d" + std::to_string(acknowledged - 1)));
    static_cast<void>(corpus.close());  // an index file may not fit

    // Room again, and all is as it was acknowledged (the refused one may have got through).
    ASSERT_EQ(::mount("tmpfs", disk.c_str(), "tmpfs", MS_REMOUNT, "size=64m"), 0);
    auto reopened = Corpus::open(path);
    ASSERT_OK(reopened);
    const auto info = (*reopened)->collection_info("law");
    ASSERT_OK(info);
    EXPECT_GE(info->documents, acknowledged);
    EXPECT_LE(info->documents, acknowledged + 1);
    for (std::size_t i = 0; i < acknowledged; ++i)
      ASSERT_OK((*reopened)->document("law", "d" + std::to_string(i)));
    WriteSet more;
    more.put_record("key", "value");
    EXPECT_OK((*reopened)->commit(std::move(more)));
  };
  test();
  EXPECT_EQ(::umount(disk.c_str()), 0);
}

// The packaged RocksDB has assertions on, and aborts when its own log does not fit.
TEST(CorpusDamage, AFullDiskRefusesCreateAndOpenAndLosesNothing) {
  const TemporaryFolder folder;
  const std::string disk = folder / "disk";
  fs::create_directory(disk);
  if (::mount("tmpfs", disk.c_str(), "tmpfs", 0, "size=16k") != 0)
    GTEST_SKIP() << "mounting a small tmpfs needs root";
  const auto resize = [&](int kib) {
    const std::string size = "size=" + std::to_string(kib) + "k";
    ASSERT_EQ(::mount("tmpfs", disk.c_str(), "tmpfs", MS_REMOUNT, size.c_str()), 0);
  };
  const auto test = [&] {
    int refused = 0;
    for (int kib = 16; kib <= 128; kib += 4) {
      resize(kib);
      const Status created = Corpus::create(disk + "/new", {kDim, "digest"}).status();
      if (!created.ok()) {
        EXPECT_EQ(created.code(), StatusCode::kResourceExhausted) << created.to_string();
        ++refused;
      }
      fs::remove_all(disk + "/new");
    }
    EXPECT_GT(refused, 2);
    const std::string path = disk + "/corpus";
    resize(64 << 10);
    make_corpus(path);
    copy_folder(path, folder / "copy");
    const auto whole = contents(folder / "copy");
    ASSERT_OK(whole);
    {  // not a byte more
      std::ofstream filler(disk + "/filler", std::ios::binary);
      const std::string block(4096, 'x');
      while (filler.write(block.data(), 4096).flush()) {
      }
    }
    const Status opened = Corpus::open(path).status();
    if (!opened.ok()) {
      EXPECT_EQ(opened.code(), StatusCode::kResourceExhausted) << opened.to_string();
    }
    fs::remove(disk + "/filler");
    const auto again = contents(path);
    ASSERT_OK(again);
    EXPECT_EQ(*again, *whole);
  };
  test();
  EXPECT_EQ(::umount(disk.c_str()), 0);
}

}  // namespace
}  // namespace collegium::index
