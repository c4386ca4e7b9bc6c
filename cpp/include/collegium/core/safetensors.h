#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "collegium/core/export.h"
#include "collegium/core/status.h"

namespace collegium::core {

enum class TensorType : std::uint8_t {
  kF32,
  kF16,
  kBF16,
  kF64,
  kI64,
  kI32,
  kI16,
  kI8,
  kU8,
  kBool,
  kU16,
  kU32,
  kU64,
  kF8E4M3,
  kF8E5M2
};

COLLEGIUM_API std::string_view tensor_type_name(TensorType type) noexcept;  // "F32", "BF16", ...
COLLEGIUM_API std::size_t tensor_type_bytes(TensorType type) noexcept;      // of one element

struct COLLEGIUM_API TensorView {
  TensorType type = TensorType::kF32;
  std::vector<std::size_t> shape;
  std::span<const std::byte> bytes;  // into the mapped file; not necessarily aligned
  std::size_t num_elements() const noexcept;
};

// A safetensors file, or the shards of one model, mapped read-only: u64 header length (at most 100
// MB), a JSON object of that length, then the tensors' bytes, little-endian. Every offset, shape
// and type is checked before anything is handed out. Immutable; any number of threads may read. The
// file may be replaced (renamed over) or deleted meanwhile, but not truncated.
class COLLEGIUM_API SafeTensors {
 public:
  // not_found; corruption if the header is no JSON object, a name or key comes twice, a size does
  // not match its shape, or the tensors do not cover the data exactly once; not_supported for a
  // dtype not in TensorType.
  static Result<SafeTensors> open(const std::string& path);
  // The shards of a model as one: `index_path` (transformers' "model.safetensors.index.json") says
  // which file beside it holds which tensor. Every shard is checked as open() checks it. Beyond
  // that, not_found for a shard that is not there; corruption if a shard's name is no plain name of
  // a .safetensors file, or a tensor is in no shard, in two, in another than the index says, or in
  // a shard without being in the index.
  static Result<SafeTensors> open_sharded(const std::string& index_path);
  SafeTensors(SafeTensors&&) noexcept;
  SafeTensors& operator=(SafeTensors&&) noexcept;
  ~SafeTensors();

  const std::map<std::string, TensorView, std::less<>>& tensors() const noexcept;
  const std::map<std::string, std::string, std::less<>>& metadata()
      const noexcept;  // "__metadata__"
  // The names of the shards, ascending; of a single file, its path.
  const std::vector<std::string>& files() const noexcept;
  // not_found names the file and the tensor.
  Result<TensorView> find(std::string_view name) const;
  // The tensor converted to float32 (from F32, F16, BF16, F64). invalid_argument if its shape is
  // not `shape`, not_supported for integer types.
  Result<std::vector<float>> read_float(std::string_view name,
                                        std::span<const std::size_t> shape) const;

 private:
  struct Impl;
  explicit SafeTensors(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace collegium::core
