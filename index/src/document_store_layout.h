#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "collegium/core/bytes.h"
#include "document_store.h"

// The store, format version 2. Values are little-endian; numbers in keys are big-endian, so that
// bytewise order is numeric order. `string` is a u64 length and the bytes.
//
// Column family "default":
//   "m/format"         u32 format version
//   "m/options"        u64 dim, u64 hnsw_threshold, string encoder digest, string corpus id
//   "m/commit_seq"     u64
//   "m/collections"    u32 number of the next collection
//   "m/log_begin"      u64 first commit_seq of the change log; 0 if absent
//   "c/" name          u32 number, u64 next row, u64 documents, u64 passages, u64 changed_seq
//   "r/" key           a record's value as it is
//   "l/" u64 seq       change log of commit seq: entries of u8 kind (1 put, 2 remove),
//                      u32 collection, string id, u64 first row, u64 passages
// Column family "directory":
//   u32 collection, id             u64 first row, u64 passages, each u64 begin, u64 end,
//                                  string section
// Column family "documents":
//   u32 collection, id             string title, string text, string metadata
// Column family "vectors":
//   u32 collection, u32 space, u64 row    f32[dim]; space 0 is the corpus's encoder, others are
//                                         kept for experts that embed documents themselves
// Column families "postings" and "positions": lexical_tables.h

namespace collegium::index {

inline constexpr std::uint32_t kPlainSpace = 0;
inline constexpr std::size_t kVectorKeyBytes = 16;
inline constexpr const char* kFamilies[] = {"default", "directory", "documents",
                                            "vectors", "postings",  "positions"};
enum Family : std::size_t {
  kDefault,
  kDirectory,
  kDocuments,
  kVectors,
  kPostings,
  kPositions,
  kNumFamilies
};

template <typename T>
void append_key(std::string& key, T value) {
  for (int shift = 8 * (static_cast<int>(sizeof(T)) - 1); shift >= 0; shift -= 8)
    key.push_back(static_cast<char>(value >> shift & 0xff));
}
std::uint64_t read_key_u64(std::string_view bytes);

std::string document_key(std::uint32_t collection, std::string_view id);
std::string vector_key(std::uint32_t collection, std::uint64_t row);
std::string name_key(std::string_view prefix, std::string_view name);
// The first key after all that start with `prefix`; empty if there is none.
std::string after_prefix(std::string prefix);

inline core::ByteReader reader(std::string_view bytes) {
  return core::ByteReader(std::as_bytes(std::span(bytes)));
}

// False when the bytes are no such value.
bool read_entry(std::string_view bytes, DocumentEntry& entry);
bool read_collection(std::string_view bytes, CollectionRecord& record);
bool read_document(std::string_view bytes, Document& document);

bool read_log(std::string_view bytes, std::vector<LogEntry>& entries);
std::string log_key(std::uint64_t commit_seq);

}  // namespace collegium::index
