#include "engine/records.h"

#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>

#include "collegium/core/file_envelope.h"
#include "collegium/core/text/tokenizer.h"

namespace collegium::router {
namespace {

constexpr std::uint8_t kRecordVersion = 1;
constexpr std::uint8_t kPairWithKindVersion = 2;
constexpr std::uint32_t kVectorOriginsFormat = 1;

class Writer {
 public:
  void u8(std::uint8_t value) { bytes_.push_back(static_cast<char>(value)); }
  void u32(std::uint32_t value) {
    for (int shift = 0; shift < 32; shift += 8) u8(static_cast<std::uint8_t>(value >> shift));
  }
  void f32(float value) {
    std::uint32_t bits = 0;
    std::memcpy(&bits, &value, sizeof bits);
    u32(bits);
  }
  void text(std::string_view value) {
    u32(static_cast<std::uint32_t>(value.size()));
    bytes_.append(value);
  }
  void floats(const std::vector<float>& values) {
    u32(static_cast<std::uint32_t>(values.size()));
    for (const float value : values) f32(value);
  }
  std::string take() { return std::move(bytes_); }

 private:
  std::string bytes_;
};

// Every read is checked; after the first failure all reads give zeros and ok() is false.
class Reader {
 public:
  explicit Reader(std::string_view bytes) : bytes_(bytes) {}
  std::uint8_t u8() {
    if (!need(1)) return 0;
    return static_cast<std::uint8_t>(bytes_[position_++]);
  }
  std::uint32_t u32() {
    std::uint32_t value = 0;
    for (int shift = 0; shift < 32; shift += 8) value |= std::uint32_t{u8()} << shift;
    return value;
  }
  float f32() {
    const std::uint32_t bits = u32();
    float value = 0.0f;
    std::memcpy(&value, &bits, sizeof value);
    return value;
  }
  std::string text() {
    const std::size_t size = u32();
    if (!need(size)) return {};
    std::string value(bytes_.substr(position_, size));
    position_ += size;
    return value;
  }
  std::vector<float> floats(std::size_t expected) {
    const std::size_t size = u32();
    if (size != expected || !need(size * sizeof(float))) {
      ok_ = false;
      return {};
    }
    std::vector<float> values(size);
    for (float& value : values) {
      value = f32();
      if (!std::isfinite(value)) ok_ = false;
    }
    return values;
  }
  Split split() {
    const std::uint8_t value = u8();
    if (value > static_cast<std::uint8_t>(Split::kTest)) ok_ = false;
    return static_cast<Split>(value > 2 ? 0 : value);
  }
  Status finish(std::string_view what) const {
    if (ok_ && position_ == bytes_.size()) return {};
    return Status::corruption(std::string(what) + " record of " + std::to_string(bytes_.size()) +
                              " bytes in the store is malformed");
  }

 private:
  bool need(std::size_t size) {
    if (!ok_ || size > bytes_.size() - position_) ok_ = false;
    return ok_;
  }
  std::string_view bytes_;
  std::size_t position_ = 0;
  bool ok_ = true;
};

Status check_version(std::uint8_t version, std::string_view what,
                     std::uint8_t newest = kRecordVersion) {
  if (version <= newest) return {};
  return Status::not_supported(std::string(what) + " record has version " +
                               std::to_string(version) + ", this build reads up to " +
                               std::to_string(newest));
}

nlohmann::ordered_json model_to_json(const ModelReference& model) {
  return {{"digest", model.digest}, {"path", model.path}, {"linked", model.linked}};
}

ModelReference model_from_json(const nlohmann::json& json) {
  return {json.at("digest").get<std::string>(), json.at("path").get<std::string>(),
          json.at("linked").get<bool>()};
}

}  // namespace

Status check_collection_name(std::string_view name) {
  if (name.empty() || name.size() > 128)
    return Status::invalid_argument("a collection's name has " + std::to_string(name.size()) +
                                    " bytes; allowed are 1 to 128");
  COLLEGIUM_RETURN_IF_ERROR(core::check_utf8(name, "the collection's name"));
  for (const char c : name) {
    if (c == '/' || static_cast<unsigned char>(c) < 0x20 || c == 0x7f)
      return Status::invalid_argument(
          "collection name '" + std::string(name) +
          "': '/' and control characters are not allowed in a collection's name");
  }
  if (name == "." || name == "..")
    return Status::invalid_argument("'" + std::string(name) + "' cannot name a collection");
  return {};
}

std::string text_digest(std::string_view text) {
  return core::digest_hex(std::as_bytes(std::span(text.data(), text.size())));
}

std::string pair_prefix(std::string_view collection) {
  return "pair/" + std::string(collection) + "/";
}

std::string pair_prefix(std::string_view collection, std::string_view document_id) {
  return pair_prefix(collection) + text_digest(document_id) + "/";
}

std::string pair_key(std::string_view collection, std::string_view document_id,
                     std::string_view query) {
  return pair_prefix(collection, document_id) + text_digest(query);
}

std::string negative_key(std::string_view query) {
  return std::string(kNegativePrefix) + text_digest(query);
}

std::string made_with_key(std::string_view collection) {
  return "made-with/" + std::string(collection);
}

std::string LibrarySettings::to_json() const {
  return nlohmann::ordered_json{
      {"format", format},
      {"encoder", model_to_json(encoder)},
      {"language_model", model_to_json(language_model)},
      {"encoder_options",
       {{"compute", std::string(core::compute_name(compute))}, {"truncate_dim", truncate_dim}}}}
      .dump();
}

Result<LibrarySettings> LibrarySettings::parse(std::string_view text) {
  try {
    const auto json = nlohmann::json::parse(text);
    LibrarySettings settings;
    settings.format = json.at("format").get<std::uint32_t>();
    if (settings.format > kLibraryFormat)
      return Status::not_supported("the library has format " + std::to_string(settings.format) +
                                   ", this build reads up to " + std::to_string(kLibraryFormat));
    settings.encoder = model_from_json(json.at("encoder"));
    settings.language_model = model_from_json(json.at("language_model"));
    if (settings.format >= 2) {
      const auto& options = json.at("encoder_options");
      auto compute = core::parse_compute(options.at("compute").get<std::string>());
      if (!compute.ok())
        return Status::not_supported("the library's settings record: " +
                                     compute.status().message());
      settings.compute = *compute;
      settings.truncate_dim = options.at("truncate_dim").get<std::size_t>();
    }
    return settings;
  } catch (const nlohmann::json::exception& error) {
    return Status::corruption(std::string("the library's settings record is malformed: ") +
                              error.what());
  }
}

std::string VectorOrigins::to_json() const {
  auto list = nlohmann::ordered_json::array();
  for (const VectorOrigin& origin : origins)
    list.push_back({{"compute", origin.compute}, {"isa", origin.isa}});
  return nlohmann::ordered_json{{"format", kVectorOriginsFormat}, {"vectors", list}}.dump();
}

Result<VectorOrigins> VectorOrigins::parse(std::string_view text) {
  try {
    const auto json = nlohmann::json::parse(text);
    VectorOrigins result;
    const auto format = json.at("format").get<std::uint32_t>();
    if (format > kVectorOriginsFormat)
      return Status::not_supported("a made-with record has format " + std::to_string(format) +
                                   ", this build reads up to " +
                                   std::to_string(kVectorOriginsFormat));
    for (const auto& entry : json.at("vectors"))
      result.origins.insert(
          {entry.at("compute").get<std::string>(), entry.at("isa").get<std::string>()});
    return result;
  } catch (const nlohmann::json::exception& error) {
    return Status::corruption(std::string("a made-with record is malformed: ") + error.what());
  }
}

// u8 version, u8 split, f32 gain, document id, query, vector; a text or vector is a u32 length and
// its bytes or floats. Version 2 adds the kind behind them; a pair without one is written as 1.
std::string StoredPair::serialize() const {
  Writer writer;
  writer.u8(kind.empty() ? kRecordVersion : kPairWithKindVersion);
  writer.u8(static_cast<std::uint8_t>(split));
  writer.f32(gain);
  writer.text(document_id);
  writer.text(query);
  writer.floats(vector);
  if (!kind.empty()) writer.text(kind);
  return writer.take();
}

Result<StoredPair> StoredPair::parse(std::string_view bytes, std::size_t dim) {
  Reader reader(bytes);
  const std::uint8_t version = reader.u8();
  COLLEGIUM_RETURN_IF_ERROR(check_version(version, "pair", kPairWithKindVersion));
  StoredPair pair;
  pair.split = reader.split();
  pair.gain = reader.f32();
  pair.document_id = reader.text();
  pair.query = reader.text();
  pair.vector = reader.floats(dim);
  if (version >= kPairWithKindVersion) pair.kind = reader.text();
  COLLEGIUM_RETURN_IF_ERROR(reader.finish("pair"));
  return pair;
}

// u8 version, u8 split, query, vector.
std::string StoredNegative::serialize() const {
  Writer writer;
  writer.u8(kRecordVersion);
  writer.u8(static_cast<std::uint8_t>(split));
  writer.text(query);
  writer.floats(vector);
  return writer.take();
}

Result<StoredNegative> StoredNegative::parse(std::string_view bytes, std::size_t dim) {
  Reader reader(bytes);
  COLLEGIUM_RETURN_IF_ERROR(check_version(reader.u8(), "negative"));
  StoredNegative negative;
  negative.split = reader.split();
  negative.query = reader.text();
  negative.vector = reader.floats(dim);
  COLLEGIUM_RETURN_IF_ERROR(reader.finish("negative"));
  return negative;
}

}  // namespace collegium::router
