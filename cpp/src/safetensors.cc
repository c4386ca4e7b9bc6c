#include "collegium/core/safetensors.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <set>
#include <utility>

#include "collegium/core/bytes.h"
#include "io/half.h"
#include "io/in_quotes.h"
#include "io/json_file.h"
#include "io/mapped_file.h"

namespace collegium::core {
namespace {

constexpr std::size_t kMaxHeaderBytes = 100'000'000;  // the format's own limit
constexpr std::size_t kMaxDims = 16;
constexpr std::size_t kMaxIndexBytes = 100'000'000;
constexpr std::size_t kMaxShards = 1000;  // each is mapped
constexpr std::size_t kMaxFileName = 255;

struct TypeInfo {
  std::string_view name;
  std::size_t bytes;
};

// In the order of TensorType.
constexpr std::array<TypeInfo, 15> kTypes = {{{"F32", 4},
                                              {"F16", 2},
                                              {"BF16", 2},
                                              {"F64", 8},
                                              {"I64", 8},
                                              {"I32", 4},
                                              {"I16", 2},
                                              {"I8", 1},
                                              {"U8", 1},
                                              {"BOOL", 1},
                                              {"U16", 2},
                                              {"U32", 4},
                                              {"U64", 8},
                                              {"F8_E4M3", 1},
                                              {"F8_E5M2", 1}}};

struct ParsedTensor {
  TensorView view;
  std::size_t begin = 0;
  std::size_t end = 0;
};

std::string shape_text(std::span<const std::size_t> shape) {
  std::string text = "(";
  for (std::size_t i = 0; i < shape.size(); ++i)
    text += (i == 0 ? "" : ", ") + std::to_string(shape[i]);
  return text + ")";
}

Result<ParsedTensor> parse_tensor(const JsonValue& entry, std::span<const std::byte> data) {
  COLLEGIUM_RETURN_IF_ERROR(entry.for_each_field([&](std::string_view key, const JsonValue&) {
    if (key == "dtype" || key == "shape" || key == "data_offsets") return Status();
    return Status::corruption(entry.where() + ": unknown key " + in_quotes(key) +
                              ", must be dtype, shape or data_offsets");
  }));
  ParsedTensor tensor;

  COLLEGIUM_ASSIGN_OR_RETURN(const auto dtype, entry.get_string("dtype"));
  const auto type = std::find_if(kTypes.begin(), kTypes.end(),
                                 [&](const TypeInfo& info) { return info.name == dtype; });
  if (type == kTypes.end())
    return Status::not_supported(entry.where() + ": dtype " + in_quotes(dtype) +
                                 " is not read here");
  tensor.view.type = static_cast<TensorType>(type - kTypes.begin());

  COLLEGIUM_ASSIGN_OR_RETURN(const auto shape, entry.get("shape"));
  COLLEGIUM_ASSIGN_OR_RETURN(const auto dims, shape.as_array(kMaxDims));
  std::size_t bytes = type->bytes;
  for (const auto& dim : dims) {
    COLLEGIUM_ASSIGN_OR_RETURN(const std::size_t size, dim.as_unsigned());
    if (!checked_multiply(bytes, size, bytes))
      return Status::corruption(shape.where() + ": more bytes than 64 bits count");
    tensor.view.shape.push_back(size);
  }

  COLLEGIUM_ASSIGN_OR_RETURN(const auto offsets, entry.get("data_offsets"));
  COLLEGIUM_ASSIGN_OR_RETURN(const auto ends, offsets.as_array(2));
  if (ends.size() != 2)
    return Status::corruption(offsets.where() + ": has " + std::to_string(ends.size()) +
                              " numbers, must have 2");
  COLLEGIUM_ASSIGN_OR_RETURN(tensor.begin, ends[0].as_unsigned());
  COLLEGIUM_ASSIGN_OR_RETURN(tensor.end, ends[1].as_unsigned());
  if (tensor.begin > tensor.end || tensor.end > data.size())
    return Status::corruption(offsets.where() + ": " + std::to_string(tensor.begin) + " to " +
                              std::to_string(tensor.end) + " is no part of the " +
                              std::to_string(data.size()) + " bytes of data");
  if (tensor.end - tensor.begin != bytes)
    return Status::corruption(offsets.where() + ": " + std::to_string(tensor.end - tensor.begin) +
                              " bytes, dtype " + dtype + " and shape " +
                              shape_text(tensor.view.shape) + " need " + std::to_string(bytes));
  tensor.view.bytes = data.subspan(tensor.begin, bytes);
  return tensor;
}

// A name that leads to nothing but a file in the index's own folder.
Status check_shard_name(const JsonValue& where, std::string_view name) {
  constexpr std::string_view kEnd = ".safetensors";
  bool plain = name.size() > kEnd.size() && name.size() <= kMaxFileName &&
               name.substr(name.size() - kEnd.size()) == kEnd;
  for (const char c : name) {
    if (c == '/' || c == '\\' || static_cast<unsigned char>(c) < 0x20) plain = false;
  }
  if (plain) return {};
  return Status::corruption(where.where() + " is " + in_quotes(name) +
                            ", must be the name of a .safetensors file in the same folder");
}

// By tensor, the name of its shard.
using ShardIndex = std::map<std::string, std::string, std::less<>>;

// {"metadata": {...}, "weight_map": {tensor: shard}}. The metadata ("total_size") are for people:
// published indexes are at times wrong there.
Result<ShardIndex> read_shard_index(const JsonValue& root) {
  ShardIndex shard_of;
  const auto add = [&](std::string_view tensor, const JsonValue& value) -> Status {
    COLLEGIUM_ASSIGN_OR_RETURN(std::string shard, value.as_string());
    COLLEGIUM_RETURN_IF_ERROR(check_shard_name(value, shard));
    shard_of.emplace(tensor, std::move(shard));
    return {};
  };
  COLLEGIUM_RETURN_IF_ERROR(
      root.for_each_field([&](std::string_view key, const JsonValue& value) -> Status {
        if (key == "metadata") return {};
        if (key == "weight_map") return value.for_each_field(add);
        return Status::not_supported(value.where() + " is a field this build does not know");
      }));
  if (shard_of.empty()) return Status::corruption(root.where() + ": weight_map names no tensor");
  return shard_of;
}

template <typename Stored, typename Convert>
void convert(std::span<const std::byte> bytes, std::vector<float>& out, Convert to_float) {
  for (std::size_t i = 0; i < out.size(); ++i) {
    Stored value;
    std::memcpy(&value, bytes.data() + i * sizeof(Stored), sizeof(Stored));
    out[i] = to_float(value);
  }
}

}  // namespace

std::string_view tensor_type_name(TensorType type) noexcept {
  const auto position = static_cast<std::size_t>(type);
  return position < kTypes.size() ? kTypes[position].name : "unknown";
}

std::size_t tensor_type_bytes(TensorType type) noexcept {
  const auto position = static_cast<std::size_t>(type);
  return position < kTypes.size() ? kTypes[position].bytes : 0;
}

std::size_t TensorView::num_elements() const noexcept {
  std::size_t count = 1;
  for (const std::size_t size : shape) count *= size;
  return count;
}

struct SafeTensors::Impl {
  std::string path;  // of the file, or of the index of the shards
  std::vector<std::string> files;
  std::vector<MappedFile> maps;
  std::map<std::string, TensorView, std::less<>> tensors;
  std::map<std::string, std::string, std::less<>> metadata;
};

SafeTensors::SafeTensors(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
SafeTensors::SafeTensors(SafeTensors&&) noexcept = default;
SafeTensors& SafeTensors::operator=(SafeTensors&&) noexcept = default;
SafeTensors::~SafeTensors() = default;

Result<SafeTensors> SafeTensors::open(const std::string& path) {
  COLLEGIUM_ASSIGN_OR_RETURN(auto file, MappedFile::open(path));
  ByteReader reader(file.bytes());
  std::uint64_t header_bytes = 0;
  if (!reader.read(header_bytes))
    return Status::corruption(path + ": has " + std::to_string(reader.remaining()) +
                              " bytes, a safetensors file has at least 8");
  if (header_bytes > kMaxHeaderBytes)
    return Status::corruption(path + ": header of " + std::to_string(header_bytes) +
                              " bytes, at most " + std::to_string(kMaxHeaderBytes) +
                              " are allowed");
  std::span<const std::byte> header;
  if (!reader.read_bytes(header_bytes, header))
    return Status::corruption(path + ": header of " + std::to_string(header_bytes) +
                              " bytes, only " + std::to_string(reader.remaining()) +
                              " bytes follow");
  if (header.empty() || header[0] != std::byte{'{'})
    return Status::corruption(path + ": the header is not a JSON object");
  const auto data = file.bytes().subspan(reader.position());

  COLLEGIUM_ASSIGN_OR_RETURN(const auto document, JsonDocument::parse(header, path));
  const JsonValue root = document.root();
  std::vector<ParsedTensor> by_offset;
  std::map<std::string, TensorView, std::less<>> tensors;
  std::map<std::string, std::string, std::less<>> metadata;
  const auto add_metadata = [&](std::string_view key, const JsonValue& value) -> Status {
    COLLEGIUM_ASSIGN_OR_RETURN(auto text, value.as_string());
    metadata.emplace(key, std::move(text));
    return {};
  };
  const auto add_entry = [&](std::string_view name, const JsonValue& entry) -> Status {
    if (name == "__metadata__") return entry.for_each_field(add_metadata);
    COLLEGIUM_ASSIGN_OR_RETURN(auto tensor, parse_tensor(entry, data));
    tensors.emplace(name, tensor.view);
    by_offset.push_back(std::move(tensor));
    return {};
  };
  const Status status = root.for_each_field(add_entry);
  // A missing key is damage, not something to look for elsewhere.
  if (status.code() == StatusCode::kNotFound) return Status::corruption(status.message());
  COLLEGIUM_RETURN_IF_ERROR(status);

  std::sort(by_offset.begin(), by_offset.end(), [](const auto& a, const auto& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });
  std::size_t covered = 0;
  for (const auto& tensor : by_offset) {
    if (tensor.begin != covered)
      return Status::corruption(path + ": tensors " +
                                (tensor.begin < covered ? "overlap" : "leave a gap") + " at byte " +
                                std::to_string(std::min(covered, tensor.begin)) + " of the data");
    covered = tensor.end;
  }
  if (covered != data.size())
    return Status::corruption(path + ": tensors end at byte " + std::to_string(covered) + " of " +
                              std::to_string(data.size()) + " bytes of data");
  auto impl = std::make_unique<Impl>();
  impl->path = path;
  impl->files.push_back(path);
  impl->maps.push_back(std::move(file));
  impl->tensors = std::move(tensors);
  impl->metadata = std::move(metadata);
  return SafeTensors(std::move(impl));
}

Result<SafeTensors> SafeTensors::open_sharded(const std::string& index_path) {
  COLLEGIUM_ASSIGN_OR_RETURN(const auto document, JsonDocument::open(index_path, kMaxIndexBytes));
  COLLEGIUM_ASSIGN_OR_RETURN(const ShardIndex shard_of, read_shard_index(document.root()));
  std::set<std::string> names;
  for (const auto& [tensor, shard] : shard_of) names.insert(shard);
  if (names.size() > kMaxShards)
    return Status::corruption(index_path + ": names " + std::to_string(names.size()) +
                              " shards, at most " + std::to_string(kMaxShards) + " are allowed");

  auto impl = std::make_unique<Impl>();
  impl->path = index_path;
  const std::string folder = index_path.substr(0, index_path.rfind('/') + 1);
  ShardIndex found;
  for (const std::string& name : names) {
    COLLEGIUM_ASSIGN_OR_RETURN(SafeTensors shard, open(folder + name));
    impl->files.push_back(name);
    impl->maps.push_back(std::move(shard.impl_->maps[0]));
    for (const auto& [tensor, view] : shard.impl_->tensors) {
      const auto [first, is_new] = found.emplace(tensor, name);
      if (!is_new)
        return Status::corruption(index_path + ": tensor " + in_quotes(tensor) + " is in " +
                                  in_quotes(first->second) + " and in " + in_quotes(name));
      impl->tensors.emplace(tensor, view);
    }
    impl->metadata.merge(shard.impl_->metadata);
  }
  for (const auto& [tensor, name] : found) {
    const auto said = shard_of.find(tensor);
    if (said == shard_of.end())
      return Status::corruption(index_path + ": does not name tensor " + in_quotes(tensor) +
                                ", which is in " + in_quotes(name));
    if (said->second != name)
      return Status::corruption(index_path + ": tensor " + in_quotes(tensor) + " is in " +
                                in_quotes(name) + ", not in " + in_quotes(said->second));
  }
  for (const auto& [tensor, name] : shard_of) {
    if (found.count(tensor) == 0)
      return Status::corruption(index_path + ": tensor " + in_quotes(tensor) +
                                " is not in its shard " + in_quotes(name));
  }
  return SafeTensors(std::move(impl));
}

const std::vector<std::string>& SafeTensors::files() const noexcept { return impl_->files; }

const std::map<std::string, TensorView, std::less<>>& SafeTensors::tensors() const noexcept {
  return impl_->tensors;
}

const std::map<std::string, std::string, std::less<>>& SafeTensors::metadata() const noexcept {
  return impl_->metadata;
}

Result<TensorView> SafeTensors::find(std::string_view name) const {
  const auto position = impl_->tensors.find(name);
  if (position == impl_->tensors.end())
    return Status::not_found(impl_->path + ": has no tensor " + in_quotes(name));
  return position->second;
}

Result<std::vector<float>> SafeTensors::read_float(std::string_view name,
                                                   std::span<const std::size_t> shape) const {
  COLLEGIUM_ASSIGN_OR_RETURN(const TensorView tensor, find(name));
  const std::string where = impl_->path + ": tensor " + in_quotes(name);
  if (!std::equal(shape.begin(), shape.end(), tensor.shape.begin(), tensor.shape.end()))
    return Status::invalid_argument(where + " has shape " + shape_text(tensor.shape) + ", not " +
                                    shape_text(shape));
  std::vector<float> values(tensor.num_elements());
  switch (tensor.type) {
    case TensorType::kF32:
      if (!values.empty()) std::memcpy(values.data(), tensor.bytes.data(), tensor.bytes.size());
      return values;
    case TensorType::kF16:
      convert<std::uint16_t>(tensor.bytes, values, half_to_float);
      return values;
    case TensorType::kBF16:
      convert<std::uint16_t>(tensor.bytes, values, bfloat16_to_float);
      return values;
    case TensorType::kF64:
      convert<double>(tensor.bytes, values, [](double value) { return static_cast<float>(value); });
      return values;
    default:
      return Status::not_supported(where + " has dtype " +
                                   std::string(tensor_type_name(tensor.type)) +
                                   ", only F32, F16, BF16 and F64 are read as numbers");
  }
}

}  // namespace collegium::core
