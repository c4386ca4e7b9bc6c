#include "collegium/core/gguf.h"

#include <simdjson.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <limits>
#include <optional>
#include <utility>

#include "collegium/core/bytes.h"
#include "io/in_quotes.h"
#include "io/mapped_file.h"

namespace collegium::core {
namespace {

// The file: magic "GGUF", u32 version, u64 tensors, u64 metadata entries; the entries, each
// string key, u32 type, value; the tensor table, each string name, u32 dims, u64 dim[dims] fastest
// first, u32 type, u64 offset; padding to the alignment; the tensors' bytes. A string is u64
// length and bytes, an array u32 type, u64 count and values. Version 3 differs from 2 by allowing
// big-endian files.
constexpr std::array kMagic = {std::byte{'G'}, std::byte{'G'}, std::byte{'U'}, std::byte{'F'}};
constexpr std::uint32_t kOldestVersion = 2;
constexpr std::uint32_t kNewestVersion = 3;
constexpr std::size_t kMaxKeyBytes = 65535;  // the format's own limit
constexpr std::size_t kMaxNameBytes = 1024;  // the format says 64; some writers go beyond
constexpr std::size_t kMaxDims = 4;
constexpr std::size_t kMaxAlignment = std::size_t{1} << 20;
constexpr int kMaxArrayDepth = 4;

// The smallest entry and tensor anyone can write: a count that claims more than fit is damage.
constexpr std::size_t kMinEntryBytes = 8 + 4 + 1;
constexpr std::size_t kMinTensorBytes = 8 + 4 + 4 + 8;

// 0 for strings, arrays and unknown types.
std::size_t fixed_bytes(GgufValueType type) {
  switch (type) {
    case GgufValueType::kUint8:
    case GgufValueType::kInt8:
    case GgufValueType::kBool:
      return 1;
    case GgufValueType::kUint16:
    case GgufValueType::kInt16:
      return 2;
    case GgufValueType::kUint32:
    case GgufValueType::kInt32:
    case GgufValueType::kFloat32:
      return 4;
    case GgufValueType::kUint64:
    case GgufValueType::kInt64:
    case GgufValueType::kFloat64:
      return 8;
    case GgufValueType::kString:
    case GgufValueType::kArray:
      break;
  }
  return 0;
}

bool known(GgufValueType type) { return type <= GgufValueType::kFloat64; }

template <typename T>
T load(const std::byte* bytes) {
  T value;
  std::memcpy(&value, bytes, sizeof value);
  return value;
}

std::string_view as_text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

bool is_utf8(std::string_view text) { return simdjson::validate_utf8(text.data(), text.size()); }

// An integer of any type: its bits, and whether they are a negative number's.
struct Integer {
  std::uint64_t bits;
  bool negative;
};

std::optional<Integer> load_integer(GgufValueType type, const std::byte* bytes) {
  const auto from_signed = [](std::int64_t value) {
    return Integer{static_cast<std::uint64_t>(value), value < 0};
  };
  switch (type) {
    case GgufValueType::kUint8:
      return Integer{load<std::uint8_t>(bytes), false};
    case GgufValueType::kUint16:
      return Integer{load<std::uint16_t>(bytes), false};
    case GgufValueType::kUint32:
      return Integer{load<std::uint32_t>(bytes), false};
    case GgufValueType::kUint64:
      return Integer{load<std::uint64_t>(bytes), false};
    case GgufValueType::kInt8:
      return from_signed(load<std::int8_t>(bytes));
    case GgufValueType::kInt16:
      return from_signed(load<std::int16_t>(bytes));
    case GgufValueType::kInt32:
      return from_signed(load<std::int32_t>(bytes));
    case GgufValueType::kInt64:
      return from_signed(load<std::int64_t>(bytes));
    default:
      return std::nullopt;
  }
}

std::optional<double> load_number(GgufValueType type, const std::byte* bytes) {
  if (type == GgufValueType::kFloat32) return load<float>(bytes);
  if (type == GgufValueType::kFloat64) return load<double>(bytes);
  const auto integer = load_integer(type, bytes);
  if (!integer) return std::nullopt;
  return integer->negative ? static_cast<double>(static_cast<std::int64_t>(integer->bits))
                           : static_cast<double>(integer->bits);
}

std::optional<std::int64_t> load_signed(GgufValueType type, const std::byte* bytes) {
  const auto integer = load_integer(type, bytes);
  if (!integer || (!integer->negative && integer->bits > std::numeric_limits<std::int64_t>::max()))
    return std::nullopt;
  return static_cast<std::int64_t>(integer->bits);
}

std::string value_type_text(const GgufValue& value) {
  if (value.type != GgufValueType::kArray) return std::string(gguf_value_type_name(value.type));
  return "array of " + std::string(gguf_value_type_name(value.element_type));
}

std::string shape_text(std::span<const std::size_t> shape) {
  std::string text = "(";
  for (std::size_t i = 0; i < shape.size(); ++i)
    text += (i == 0 ? "" : ", ") + std::to_string(shape[i]);
  return text + ")";
}

using Metadata = std::map<std::string, GgufValue, std::less<>>;
using Tensors = std::map<std::string, GgufTensor, std::less<>>;

// Walks a file once, front to back.
class Parser {
 public:
  Parser(const std::string& path, std::span<const std::byte> file)
      : path_(path), file_(file), reader_(file) {}

  Status parse() {
    COLLEGIUM_RETURN_IF_ERROR(parse_header());
    for (std::uint64_t i = 0; i < num_entries_; ++i) COLLEGIUM_RETURN_IF_ERROR(parse_entry());
    COLLEGIUM_RETURN_IF_ERROR(parse_alignment());
    for (std::uint64_t i = 0; i < num_tensors_; ++i) COLLEGIUM_RETURN_IF_ERROR(parse_tensor_info());
    return place_tensors();
  }

  std::uint32_t version = 0;
  std::size_t alignment = 32;
  Metadata metadata;
  Tensors tensors;

 private:
  Status damage(const std::string& what) const {
    return Status::corruption(path_ + ": at byte " + std::to_string(reader_.position()) + ": " +
                              what);
  }
  Status truncated(std::string_view what) const {
    return damage("the file ends within " + std::string(what));
  }

  Status parse_header() {
    std::span<const std::byte> magic;
    if (!reader_.read_bytes(kMagic.size(), magic) || !std::ranges::equal(magic, kMagic))
      return Status::corruption(path_ + ": is not a GGUF file, it does not begin with 'GGUF'");
    if (!reader_.read(version)) return truncated("its version");
    if (version < kOldestVersion || version > kNewestVersion) {
      const std::uint32_t swapped = __builtin_bswap32(version);
      if (swapped >= kOldestVersion && swapped <= kNewestVersion)
        return Status::not_supported(path_ + ": is big-endian, only little-endian GGUF is read");
      return Status::not_supported(path_ + ": has GGUF version " + std::to_string(version) +
                                   ", this build reads " + std::to_string(kOldestVersion) + " to " +
                                   std::to_string(kNewestVersion));
    }
    if (!reader_.read(num_tensors_) || !reader_.read(num_entries_)) return truncated("its counts");
    if (num_entries_ > reader_.remaining() / kMinEntryBytes)
      return damage(std::to_string(num_entries_) + " metadata entries do not fit the " +
                    std::to_string(reader_.remaining()) + " bytes left");
    if (num_tensors_ > reader_.remaining() / kMinTensorBytes)
      return damage(std::to_string(num_tensors_) + " tensors do not fit the " +
                    std::to_string(reader_.remaining()) + " bytes left");
    return {};
  }

  Status read_name(std::string_view what, std::size_t max_bytes, std::string_view& name) {
    std::uint64_t length = 0;
    if (!reader_.read(length)) return truncated(what);
    if (length > max_bytes)
      return damage(std::string(what) + " of " + std::to_string(length) + " bytes, at most " +
                    std::to_string(max_bytes) + " are allowed");
    std::span<const std::byte> bytes;
    if (!reader_.read_bytes(length, bytes)) return truncated(what);
    if (!is_utf8(as_text(bytes))) return damage(std::string(what) + " is not UTF-8");
    name = as_text(bytes);
    return {};
  }

  Status parse_entry() {
    std::string_view key;
    COLLEGIUM_RETURN_IF_ERROR(read_name("a metadata key", kMaxKeyBytes, key));
    GgufValue value;
    COLLEGIUM_RETURN_IF_ERROR(read_type(value.type));
    if (value.type == GgufValueType::kArray) {
      std::uint64_t count = 0;
      COLLEGIUM_RETURN_IF_ERROR(read_array_head(value.element_type, count));
      value.count = static_cast<std::size_t>(count);
    }
    const std::size_t begin = reader_.position();
    if (value.type == GgufValueType::kArray)
      COLLEGIUM_RETURN_IF_ERROR(skip_elements(value.element_type, value.count, 1));
    else
      COLLEGIUM_RETURN_IF_ERROR(skip_elements(value.type, 1, 0));
    value.bytes = file_.subspan(begin, reader_.position() - begin);
    if (!metadata.emplace(key, value).second)
      return damage("metadata key " + in_quotes(key) + " comes twice");
    return {};
  }

  Status read_type(GgufValueType& type) {
    std::uint32_t number = 0;
    if (!reader_.read(number)) return truncated("a value's type");
    type = static_cast<GgufValueType>(number);
    if (!known(type)) return damage("unknown value type " + std::to_string(number));
    return {};
  }

  Status read_array_head(GgufValueType& type, std::uint64_t& count) {
    COLLEGIUM_RETURN_IF_ERROR(read_type(type));
    if (!reader_.read(count)) return truncated("an array's length");
    // Every element takes a byte at least.
    if (count > reader_.remaining())
      return damage("array of " + std::to_string(count) + " elements, " +
                    std::to_string(reader_.remaining()) + " bytes are left");
    return {};
  }

  Status skip_elements(GgufValueType type, std::uint64_t count, int depth) {
    if (depth > kMaxArrayDepth)
      return damage("arrays nested deeper than " + std::to_string(kMaxArrayDepth));
    if (const std::size_t size = fixed_bytes(type); size != 0) {
      // No overflow: count is at most the number of bytes left.
      if (count > reader_.remaining() / size || !reader_.skip(count * size))
        return truncated("a value");
      return {};
    }
    for (std::uint64_t i = 0; i < count; ++i) {
      if (type == GgufValueType::kString) {
        std::uint64_t length = 0;
        if (!reader_.read(length) || !reader_.skip(length)) return truncated("a string");
      } else {
        GgufValueType element_type{};
        std::uint64_t inner_count = 0;
        COLLEGIUM_RETURN_IF_ERROR(read_array_head(element_type, inner_count));
        COLLEGIUM_RETURN_IF_ERROR(skip_elements(element_type, inner_count, depth + 1));
      }
    }
    return {};
  }

  Status parse_alignment() {
    const auto entry = metadata.find("general.alignment");
    if (entry == metadata.end()) return {};
    if (entry->second.type != GgufValueType::kUint32)
      return Status::corruption(path_ + ": general.alignment is " + value_type_text(entry->second) +
                                ", must be uint32");
    alignment = load<std::uint32_t>(entry->second.bytes.data());
    if (!std::has_single_bit(alignment) || alignment > kMaxAlignment)
      return Status::corruption(path_ + ": general.alignment is " + std::to_string(alignment) +
                                ", must be a power of two up to " + std::to_string(kMaxAlignment));
    return {};
  }

  struct Placement {
    std::uint64_t offset;
    std::size_t size;  // 0 where the type's size is not known
    Tensors::iterator tensor;
  };

  Status parse_tensor_info() {
    std::string_view name;
    COLLEGIUM_RETURN_IF_ERROR(read_name("a tensor's name", kMaxNameBytes, name));
    std::uint32_t num_dims = 0;
    if (!reader_.read(num_dims)) return truncated("a tensor's shape");
    if (num_dims > kMaxDims)
      return damage("tensor " + in_quotes(name) + " has " + std::to_string(num_dims) +
                    " dimensions, at most " + std::to_string(kMaxDims) + " are allowed");
    GgufTensor tensor;
    std::size_t numbers = 1;
    for (std::uint32_t i = 0; i < num_dims; ++i) {
      std::uint64_t size = 0;
      if (!reader_.read(size)) return truncated("a tensor's shape");
      if (size == 0) return damage("tensor " + in_quotes(name) + " has a dimension of 0");
      if (!checked_multiply(numbers, size, numbers))
        return damage("tensor " + in_quotes(name) + " has more elements than 64 bits count");
      tensor.shape.push_back(size);
    }
    std::reverse(tensor.shape.begin(), tensor.shape.end());
    std::uint32_t type = 0;
    std::uint64_t offset = 0;
    if (!reader_.read(type) || !reader_.read(offset)) return truncated("a tensor's place");
    tensor.type = static_cast<GgmlType>(type);
    if (offset % alignment != 0)
      return damage("tensor " + in_quotes(name) + " begins at " + std::to_string(offset) +
                    ", no multiple of the alignment " + std::to_string(alignment));

    std::size_t size = 0;
    if (const std::size_t block = ggml_block_numbers(tensor.type); block != 0) {
      if (tensor.row_numbers() % block != 0)
        return damage("tensor " + in_quotes(name) + " has rows of " +
                      std::to_string(tensor.row_numbers()) + " numbers, no multiple of " +
                      ggml_type_name(tensor.type) + "'s block of " + std::to_string(block));
      if (!checked_multiply(numbers / block, ggml_block_bytes(tensor.type), size))
        return damage("tensor " + in_quotes(name) + " has more bytes than 64 bits count");
    }
    const auto [position, inserted] = tensors.emplace(name, std::move(tensor));
    if (!inserted) return damage("tensor " + in_quotes(name) + " comes twice");
    placements_.push_back({offset, size, position});
    return {};
  }

  Status place_tensors() {
    if (placements_.empty()) return {};
    const std::size_t padding = (alignment - reader_.position() % alignment) % alignment;
    if (!reader_.skip(padding)) return truncated("the padding before its tensors");
    const auto data = file_.subspan(reader_.position());
    std::sort(placements_.begin(), placements_.end(), [](const auto& a, const auto& b) {
      return std::pair(a.offset, a.size) < std::pair(b.offset, b.size);
    });
    std::size_t end = 0;
    for (const auto& [offset, size, tensor] : placements_) {
      const std::string name = "tensor " + in_quotes(tensor->first);
      if (offset > data.size() || size > data.size() - offset)
        return Status::corruption(path_ + ": " + name + " of " + std::to_string(size) +
                                  " bytes at " + std::to_string(offset) + " ends beyond the " +
                                  std::to_string(data.size()) + " bytes of data");
      if (offset < end)
        return Status::corruption(path_ + ": " + name + " at " + std::to_string(offset) +
                                  " overlaps the one before, which ends at " + std::to_string(end));
      end = static_cast<std::size_t>(offset) + size;
      tensor->second.bytes = data.subspan(static_cast<std::size_t>(offset), size);
    }
    return {};
  }

  const std::string& path_;
  std::span<const std::byte> file_;
  ByteReader reader_;
  std::uint64_t num_tensors_ = 0;
  std::uint64_t num_entries_ = 0;
  std::vector<Placement> placements_;
};

}  // namespace

std::string_view gguf_value_type_name(GgufValueType type) noexcept {
  constexpr std::array<std::string_view, 13> kNames = {
      "uint8", "int8",   "uint16", "int16",  "uint32", "int32",  "float32",
      "bool",  "string", "array",  "uint64", "int64",  "float64"};
  const auto position = static_cast<std::size_t>(type);
  return position < kNames.size() ? kNames[position] : "unknown";
}

std::size_t GgufTensor::num_rows() const noexcept {
  std::size_t rows = 1;
  for (std::size_t i = 0; i + 1 < shape.size(); ++i) rows *= shape[i];
  return rows;
}

std::span<const std::byte> GgufTensor::row(std::size_t row) const noexcept {
  const std::size_t size = bytes.size() / num_rows();
  return bytes.subspan(row * size, size);
}

struct GgufFile::Impl {
  MappedFile file;
  std::uint32_t version;
  std::size_t alignment;
  Metadata metadata;
  Tensors tensors;

  Status wrong_type(std::string_view key, const GgufValue& value, std::string_view allowed) const {
    return Status::invalid_argument(file.path() + ": " + std::string(key) + " is " +
                                    value_type_text(value) + ", not " + std::string(allowed));
  }

  Result<GgufValue> array(std::string_view key, std::string_view allowed) const {
    COLLEGIUM_ASSIGN_OR_RETURN(const auto value, find_value(key));
    if (value.type != GgufValueType::kArray) return wrong_type(key, value, allowed);
    return value;
  }

  Result<GgufValue> find_value(std::string_view key) const {
    const auto position = metadata.find(key);
    if (position == metadata.end())
      return Status::not_found(file.path() + ": has no metadata " + in_quotes(key));
    return position->second;
  }
};

GgufFile::GgufFile(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
GgufFile::GgufFile(GgufFile&&) noexcept = default;
GgufFile& GgufFile::operator=(GgufFile&&) noexcept = default;
GgufFile::~GgufFile() = default;

Result<GgufFile> GgufFile::open(const std::string& path) {
  COLLEGIUM_ASSIGN_OR_RETURN(auto file, MappedFile::open(path));
  Parser parser(path, file.bytes());
  COLLEGIUM_RETURN_IF_ERROR(parser.parse());
  return GgufFile(
      std::make_unique<Impl>(Impl{std::move(file), parser.version, parser.alignment,
                                  std::move(parser.metadata), std::move(parser.tensors)}));
}

const std::string& GgufFile::path() const noexcept { return impl_->file.path(); }
std::uint32_t GgufFile::version() const noexcept { return impl_->version; }
std::size_t GgufFile::alignment() const noexcept { return impl_->alignment; }
std::span<const std::byte> GgufFile::bytes() const noexcept { return impl_->file.bytes(); }
const Metadata& GgufFile::metadata() const noexcept { return impl_->metadata; }
const Tensors& GgufFile::tensors() const noexcept { return impl_->tensors; }

bool GgufFile::has(std::string_view key) const noexcept {
  return impl_->metadata.find(key) != impl_->metadata.end();
}

Result<GgufValue> GgufFile::value(std::string_view key) const { return impl_->find_value(key); }

Result<std::uint64_t> GgufFile::get_unsigned(std::string_view key) const {
  COLLEGIUM_ASSIGN_OR_RETURN(const auto value, impl_->find_value(key));
  const auto integer = load_integer(value.type, value.bytes.data());
  if (!integer) return impl_->wrong_type(key, value, "an integer");
  if (integer->negative)
    return Status::invalid_argument(path() + ": " + std::string(key) + " is " +
                                    std::to_string(static_cast<std::int64_t>(integer->bits)) +
                                    ", must not be negative");
  return integer->bits;
}

Result<std::int64_t> GgufFile::get_integer(std::string_view key) const {
  COLLEGIUM_ASSIGN_OR_RETURN(const auto value, impl_->find_value(key));
  const auto integer = load_signed(value.type, value.bytes.data());
  if (!integer) return impl_->wrong_type(key, value, "an integer that fits int64");
  return *integer;
}

Result<double> GgufFile::get_number(std::string_view key) const {
  COLLEGIUM_ASSIGN_OR_RETURN(const auto value, impl_->find_value(key));
  const auto number = load_number(value.type, value.bytes.data());
  if (!number) return impl_->wrong_type(key, value, "a number");
  return *number;
}

Result<bool> GgufFile::get_bool(std::string_view key) const {
  COLLEGIUM_ASSIGN_OR_RETURN(const auto value, impl_->find_value(key));
  if (value.type != GgufValueType::kBool) return impl_->wrong_type(key, value, "a bool");
  if (value.bytes[0] > std::byte{1})
    return Status::corruption(path() + ": " + std::string(key) + " is a bool of value " +
                              std::to_string(std::to_integer<int>(value.bytes[0])) +
                              ", must be 0 or 1");
  return value.bytes[0] == std::byte{1};
}

Result<std::string_view> GgufFile::get_string(std::string_view key) const {
  COLLEGIUM_ASSIGN_OR_RETURN(const auto value, impl_->find_value(key));
  if (value.type != GgufValueType::kString) return impl_->wrong_type(key, value, "a string");
  const std::string_view text = as_text(value.bytes.subspan(sizeof(std::uint64_t)));
  if (!is_utf8(text)) return Status::corruption(path() + ": " + std::string(key) + " is not UTF-8");
  return text;
}

Result<std::vector<std::int64_t>> GgufFile::get_integers(std::string_view key) const {
  constexpr std::string_view kAllowed = "an array of integers that fit int64";
  COLLEGIUM_ASSIGN_OR_RETURN(const auto value, impl_->array(key, kAllowed));
  std::vector<std::int64_t> integers(value.count);
  for (std::size_t i = 0; i < value.count; ++i) {
    const auto integer =
        load_signed(value.element_type, value.bytes.data() + i * fixed_bytes(value.element_type));
    if (!integer) return impl_->wrong_type(key, value, kAllowed);
    integers[i] = *integer;
  }
  return integers;
}

Result<std::vector<double>> GgufFile::get_numbers(std::string_view key) const {
  constexpr std::string_view kAllowed = "an array of numbers";
  COLLEGIUM_ASSIGN_OR_RETURN(const auto value, impl_->array(key, kAllowed));
  std::vector<double> numbers(value.count);
  for (std::size_t i = 0; i < value.count; ++i) {
    const auto number =
        load_number(value.element_type, value.bytes.data() + i * fixed_bytes(value.element_type));
    if (!number) return impl_->wrong_type(key, value, kAllowed);
    numbers[i] = *number;
  }
  return numbers;
}

Result<std::vector<std::string_view>> GgufFile::get_strings(std::string_view key) const {
  constexpr std::string_view kAllowed = "an array of strings";
  COLLEGIUM_ASSIGN_OR_RETURN(const auto value, impl_->array(key, kAllowed));
  if (value.element_type != GgufValueType::kString) return impl_->wrong_type(key, value, kAllowed);
  std::vector<std::string_view> strings(value.count);
  ByteReader reader(value.bytes);
  for (auto& text : strings) {
    std::uint64_t length = 0;
    std::span<const std::byte> bytes;
    if (!reader.read(length) || !reader.read_bytes(length, bytes))
      return Status::internal(path() + ": " + std::string(key) + " was not checked by open()");
    text = as_text(bytes);
  }
  return strings;
}

Result<GgufTensor> GgufFile::find(std::string_view name) const {
  const auto position = impl_->tensors.find(name);
  if (position == impl_->tensors.end())
    return Status::not_found(path() + ": has no tensor " + in_quotes(name));
  return position->second;
}

Result<GgufTensor> GgufFile::find(std::string_view name, std::span<const std::size_t> shape) const {
  COLLEGIUM_ASSIGN_OR_RETURN(const auto tensor, find(name));
  if (!std::ranges::equal(shape, tensor.shape))
    return Status::invalid_argument(path() + ": tensor " + in_quotes(name) + " has shape " +
                                    shape_text(tensor.shape) + ", not " + shape_text(shape));
  if (!can_dequantize(tensor.type))
    return Status::not_supported(path() + ": tensor " + in_quotes(name) + " is " +
                                 ggml_type_name(tensor.type) +
                                 ", only F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K, Q5_K "
                                 "and Q6_K are read");
  return tensor;
}

Result<std::vector<float>> GgufFile::read_float(std::string_view name,
                                                std::span<const std::size_t> shape) const {
  COLLEGIUM_ASSIGN_OR_RETURN(const auto tensor, find(name, shape));
  // The product is checked: it times a block's bytes is the length of `bytes`.
  std::vector<float> values(tensor.num_rows() * tensor.row_numbers());
  dequantize(tensor.type, tensor.bytes.data(), values.size(), values.data());
  return values;
}

}  // namespace collegium::core
