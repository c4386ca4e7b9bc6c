#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "collegium/core/bytes.h"
#include "collegium/core/experts/encoder.h"
#include "collegium/core/file_envelope.h"
#include "experts/model_folder.h"
#include "experts/packed_weights.h"

namespace collegium::core {
namespace {

using testing::HasSubstr;

struct Array {
  std::string name;
  std::uint8_t type = 0;
  std::uint64_t count = 0;
  std::string bytes;
};

struct Packed {
  std::string digest;
  std::uint8_t published = 0;
  std::uint32_t heads = 0;
  std::vector<Array> arrays;
};

// What docs/formats.md says of a packed encoder, read without the code under test.
Packed read_packed(const std::string& path) {
  Packed packed;
  const std::string file = read_file(path);
  const auto envelope = read_file_envelope(path, {"encoder", 9});
  EXPECT_TRUE(envelope.ok()) << envelope.status().to_string();
  ByteReader reader(envelope->payload);
  std::uint32_t count = 0;
  EXPECT_TRUE(reader.read_string(packed.digest) && reader.read(packed.published) &&
              reader.read(packed.heads) && reader.read(count));
  for (std::uint32_t i = 0; i < count; ++i) {
    Array array;
    std::uint64_t begin = 0;
    EXPECT_TRUE(reader.read_string(array.name) && reader.read(array.type) &&
                reader.read(array.count) && reader.read(begin));
    constexpr std::size_t kBytes[] = {4, 1, 4, 2};
    if (array.type > 3) {
      ADD_FAILURE() << array.name << " has type " << int{array.type};
      return packed;
    }
    array.bytes = file.substr(begin, array.count * kBytes[array.type]);
    packed.arrays.push_back(std::move(array));
  }
  return packed;
}

template <typename T>
std::span<const T> numbers(const Array& array) {
  return {reinterpret_cast<const T*>(array.bytes.data()), array.count};
}

void write_packed(const std::string& path, const Packed& packed) {
  PackedWeightsWriter writer(packed.digest, packed.published != 0, packed.heads);
  for (const Array& array : packed.arrays) {
    if (array.type == 0) writer.add(array.name, numbers<float>(array));
    if (array.type == 1) writer.add(array.name, numbers<std::int8_t>(array));
    if (array.type == 2) writer.add(array.name, numbers<std::int32_t>(array));
    if (array.type == 3) writer.add(array.name, numbers<std::uint16_t>(array));
  }
  ASSERT_TRUE(writer.write(path).ok());
}

// A model with a gate, packed in each compute.
class PackedLayers : public testing::Test {
 protected:
  PackedLayers() {
    for (const Compute compute : {Compute::kFp32, Compute::kInt8, Compute::kBf16}) {
      const auto encoder = Encoder::load(encoder_data("families/modernbert"), {.compute = compute});
      EXPECT_TRUE(encoder.ok()) << encoder.status().to_string();
      EXPECT_TRUE((*encoder)->convert(at(compute)).ok());
      packed_[compute] = read_packed(at(compute) + "/model.packed");
    }
  }
  std::string at(Compute compute) const { return folder_.file(std::string(compute_name(compute))); }

  // `whole`, but for the arrays whose names begin with `prefix`, which are those of `part`.
  Packed with(Compute whole, const std::string& prefix, Compute part) {
    Packed mixed = packed_[whole];
    mixed.arrays.clear();
    bool replaced = false;
    for (const Array& array : packed_[whole].arrays) {
      if (!array.name.starts_with(prefix)) {
        mixed.arrays.push_back(array);
        continue;
      }
      if (replaced) continue;
      for (const Array& other : packed_[part].arrays)
        if (other.name.starts_with(prefix)) mixed.arrays.push_back(other);
      replaced = true;
    }
    EXPECT_TRUE(replaced) << prefix;
    return mixed;
  }

  // Of loading what was written: checksums and every array are right.
  Status load_status(const Packed& packed) {
    write_packed(at(Compute::kFp32) + "/model.packed", packed);
    return Encoder::load(at(Compute::kFp32)).status();
  }

  const TemporaryFolder folder_;
  std::map<Compute, Packed> packed_;
};

TEST_F(PackedLayers, WhatIsWrittenHereIsRead) {
  for (const auto& [compute, packed] : packed_)
    EXPECT_TRUE(load_status(packed).ok()) << load_status(packed).to_string();
  // A whole layer may be in fp32.
  EXPECT_TRUE(load_status(with(Compute::kInt8, "layers.2.", Compute::kFp32)).ok());
}

TEST_F(PackedLayers, OneProductOfALayerInAnotherComputeIsCorruption) {
  for (const Compute part : {Compute::kInt8, Compute::kBf16}) {
    for (const auto& [whole, other] :
         {std::pair(Compute::kFp32, part), std::pair(part, Compute::kFp32)}) {
      for (const char* layer : {"layers.0.", "layers.4."}) {
        for (const char* product :
             {"query_key_value.", "attention_output.", "up.", "gate.", "down."}) {
          const Status status = load_status(with(whole, std::string(layer) + product, other));
          EXPECT_EQ(status.code(), StatusCode::kCorruption) << layer << product;
          EXPECT_THAT(status.message(), HasSubstr(at(Compute::kFp32) + "/model.packed"));
          EXPECT_THAT(status.message(), HasSubstr("partly in " + std::string(compute_name(part))))
              << layer << product;
        }
      }
    }
  }
}

TEST_F(PackedLayers, LayersInInt8BesideLayersInBf16AreCorruption) {
  const Status status = load_status(with(Compute::kInt8, "layers.2.", Compute::kBf16));
  EXPECT_EQ(status.code(), StatusCode::kCorruption);
  EXPECT_THAT(status.message(), HasSubstr("partly in int8, partly in bf16"));
}

}  // namespace
}  // namespace collegium::core
