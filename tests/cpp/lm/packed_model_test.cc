#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <vector>

#include "collegium/core/file_envelope.h"
#include "collegium/core/lm/language_model.h"
#include "hostile.h"
#include "lm/same_answer.h"
#include "lm/tiny_models.h"
#include "scratch_folder.h"

namespace collegium::core {
namespace {

constexpr std::string_view kModels[] = {"tiny_llama.gguf", "tiny_llama_mixed.gguf"};

std::shared_ptr<const LanguageModel> fast(std::string_view name, const std::string& packed = "") {
  auto model = LanguageModel::load(test_data(std::string(name)),
                                   {.compute = LmCompute::kFast, .packed = packed});
  EXPECT_TRUE(model.ok()) << model.status().to_string();
  return model.ok() ? *model : nullptr;
}
Status refused(const std::string& packed, LmCompute compute = LmCompute::kFast) {
  return LanguageModel::load(test_data("tiny_llama.gguf"), {.compute = compute, .packed = packed})
      .status();
}

TEST(PackedModel, IsTheSameToTheLastBit) {
  const ScratchFolder folder;
  for (const std::string_view name : kModels) {
    const std::string path = folder / "packed";
    const auto made = fast(name);
    ASSERT_TRUE(made->save_packed(path).ok());
    const auto mapped = fast(name, path);
    ASSERT_NE(mapped, nullptr);
    EXPECT_EQ(mapped->compute(), LmCompute::kFast);
    EXPECT_EQ(mapped->packed_bytes(), made->packed_bytes());
    EXPECT_EQ(mapped->digest(), made->digest());
    GenerateOptions options;
    options.max_new_tokens = 50;
    options.log_probabilities = true;
    expect_same_answer(*mapped->generate("the thing", options),
                       *made->generate("the thing", options));
    // What is mapped can be written again.
    const std::string again = folder / "again";
    ASSERT_TRUE(mapped->save_packed(again).ok());
    EXPECT_EQ(read_bytes(again), read_bytes(path));
  }
}

TEST(PackedModel, IsOfOneModelAndOfFastAlone) {
  const ScratchFolder folder;
  const std::string path = folder / "packed";
  ASSERT_TRUE(fast("tiny_llama_mixed.gguf")->save_packed(path).ok());
  EXPECT_EQ(refused(path).code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(refused(path, LmCompute::kExact).code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(refused(folder / "none").code(), StatusCode::kNotFound);
  EXPECT_EQ(refused(test_data("tiny_llama.gguf")).code(), StatusCode::kCorruption);
  const auto exact = *LanguageModel::load(test_data("tiny_llama.gguf"));
  EXPECT_EQ(exact->save_packed(path).code(), StatusCode::kFailedPrecondition);
  EXPECT_EQ(fast("tiny_llama.gguf")->save_packed(folder / "no/such/folder").code(),
            StatusCode::kNotFound);
}

TEST(PackedModel, DamageIsToldWhereverItIs) {
  const ScratchFolder folder;
  const std::string path = folder / "packed";
  ASSERT_TRUE(fast("tiny_llama.gguf")->save_packed(path).ok());
  const Bytes good = read_bytes(path);
  const auto expect_told = [](const std::string& bad, int) {
    const Status status = refused(bad);
    EXPECT_TRUE(status.code() == StatusCode::kCorruption ||
                status.code() == StatusCode::kNotSupported)
        << status.to_string();
  };
  for (const std::size_t head : {std::size_t{600}, good.size()}) {
    for_each_mutation(good, head, 100, [&](const std::string& bad, int round) {
      if (read_bytes(bad) != good) expect_told(bad, round);
    });
  }
  for (const std::size_t size :
       {good.size() - 1, good.size() / 2, std::size_t{100}, std::size_t{0}}) {
    write_bytes(path, std::span(good).first(size));
    expect_told(path, 0);
  }
}

// Under a checksum that holds: no crash, and a panel that is not within the file is told.
TEST(PackedModel, NonsenseInItsHeaderIsTold) {
  const ScratchFolder folder;
  const std::string path = folder / "packed";
  ASSERT_TRUE(fast("tiny_llama.gguf")->save_packed(path).ok());
  const Bytes good = read_bytes(path);
  const auto payload = std::span(good).subspan(40, good.size() - 48);
  const std::size_t header = 8 + 32 + 4 + 28;  // digest, count and the first product
  std::size_t told = 0;
  for (std::size_t at = 0; at < header; ++at)
    for (const unsigned value : {0u, 1u, 0x7fu, 0xffu}) {
      Bytes bad(payload.begin(), payload.end());
      if (bad[at] == static_cast<std::byte>(value)) continue;
      bad[at] = static_cast<std::byte>(value);
      ASSERT_TRUE(write_file_envelope(path, {"lmpacked", 1}, bad).ok());
      const StatusCode code = refused(path).code();
      // The place of a panel may be another within the file.
      if (at < header - 8) {
        EXPECT_TRUE(code == StatusCode::kCorruption || code == StatusCode::kInvalidArgument) << at;
      }
      told += code != StatusCode::kOk;
    }
  EXPECT_GT(told, 200u);
}

}  // namespace
}  // namespace collegium::core
