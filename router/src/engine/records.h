#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "collegium/core/experts/encoder.h"
#include "collegium/core/status.h"
#include "collegium/router/learning.h"
#include "collegium/router/library.h"

// The engine's own small truths, kept as records of the store beside the documents they speak of.
// Layouts are in docs/formats.md. Keys:
//   library                              LibrarySettings, JSON
//   generation                           what fit learned (learned_files.h), JSON
//   pair/<collection>/<document>/<query> StoredPair; the last two parts are digests
//   negative/<query>                     StoredNegative; the last part is a digest
//   made-with/<collection>               VectorOrigins, JSON
// A collection's name holds no '/', so no key is a prefix of another collection's.
namespace collegium::router {

// Version history of LibrarySettings:
//   1: encoder and language model
//   2: adds encoder_options (compute, truncate_dim); absent in 1, where they have their defaults
inline constexpr std::uint32_t kLibraryFormat = 2;
inline constexpr std::string_view kLibraryKey = "library";
inline constexpr std::string_view kGenerationKey = "generation";
inline constexpr std::string_view kNegativePrefix = "negative/";
// Adapters of a fit that is under way or was interrupted, by collection; gone when it is through.
inline constexpr std::string_view kFinishedPrefix = "finished-training/";

// 1..128 bytes of UTF-8 without '/', control characters, or the names "." and "..".
Status check_collection_name(std::string_view name);

std::string text_digest(std::string_view text);  // 32 hex digits

std::string pair_prefix(std::string_view collection);
std::string pair_prefix(std::string_view collection, std::string_view document_id);
std::string pair_key(std::string_view collection, std::string_view document_id,
                     std::string_view query);
std::string negative_key(std::string_view query);
std::string made_with_key(std::string_view collection);

struct ModelReference {
  std::string digest;  // empty: no such model
  std::string path;    // relative to the library's folder if copied, absolute if linked
  bool linked = false;
};

struct LibrarySettings {
  std::uint32_t format = kLibraryFormat;
  ModelReference encoder, language_model;
  core::Compute compute = core::Compute::kAuto;
  std::size_t truncate_dim = 0;
  std::string to_json() const;
  // corruption, not_supported (newer format).
  static Result<LibrarySettings> parse(std::string_view json);
};

// In which ways a collection's vectors were made; told to whoever asks, and nothing else depends on
// it. Names are kept as they are: a newer build may know more of them.
struct VectorOrigins {
  std::set<VectorOrigin> origins;
  std::string to_json() const;
  static Result<VectorOrigins> parse(std::string_view json);
};

// A pair with its query's plain vector, so that a router refits in seconds.
struct StoredPair {
  std::string document_id, query;
  Split split = Split::kTrain;
  float gain = 1.0f;
  std::vector<float> vector;  // (dim,)
  std::string kind;           // as Pair has it
  std::string serialize() const;
  static Result<StoredPair> parse(std::string_view bytes, std::size_t dim);
};

struct StoredNegative {
  std::string query;
  Split split = Split::kTrain;
  std::vector<float> vector;  // (dim,)
  std::string serialize() const;
  static Result<StoredNegative> parse(std::string_view bytes, std::size_t dim);
};

}  // namespace collegium::router
