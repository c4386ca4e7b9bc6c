#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <random>
#include <string>
#include <vector>

#include "collegium/index/corpus.h"

namespace collegium::index {

// A folder that goes when the test does.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    // In memory where there is such a folder: a disk's fsync takes most of a small test's time.
    const std::filesystem::path memory = "/dev/shm";
    std::string pattern =
        ((::access(memory.c_str(), W_OK) == 0 ? memory : std::filesystem::temp_directory_path()) /
         "clgm-index-XXXXXX")
            .string();
    path_ = ::mkdtemp(pattern.data());
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// (n, dim) rows of length one around `clusters` centres.
inline std::vector<float> clustered_rows(std::size_t n, std::size_t dim, std::size_t clusters,
                                         std::uint32_t seed) {
  std::mt19937 centre_random(1234);  // the same centres for every seed: queries and rows match
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> centres(clusters * dim);
  for (float& value : centres) value = normal(centre_random);
  std::vector<float> rows(n * dim);
  for (std::size_t i = 0; i < n; ++i) {
    const std::size_t cluster = random() % clusters;
    double squares = 0.0;
    for (std::size_t j = 0; j < dim; ++j) {
      rows[i * dim + j] = centres[cluster * dim + j] + 0.8f * normal(random);
      squares += static_cast<double>(rows[i * dim + j]) * rows[i * dim + j];
    }
    for (std::size_t j = 0; j < dim; ++j)
      rows[i * dim + j] /= static_cast<float>(std::sqrt(squares));
  }
  return rows;
}

// How much a test of faults does, and from where: as CI has it, or as benchmarks/corpus_faults.py
// asks for.
inline std::uint64_t fault_rounds(std::uint64_t in_ci) {
  const char* text = std::getenv("COLLEGIUM_FAULT_ROUNDS");
  return text != nullptr ? std::strtoull(text, nullptr, 10) : in_ci;
}
inline std::uint32_t fault_seed(std::uint32_t in_ci) {
  const char* text = std::getenv("COLLEGIUM_FAULT_SEED");
  return text != nullptr ? static_cast<std::uint32_t>(std::strtoul(text, nullptr, 10)) : in_ci;
}

// A document of `passages` passages of 10 bytes each.
inline NewDocument make_document(const std::string& id, std::size_t passages,
                                 std::vector<float> vectors) {
  NewDocument made;
  made.document = {id, "title of " + id, std::string(passages * 10, 'x'), "{\"n\":1}"};
  for (std::size_t i = 0; i < passages; ++i)
    made.passages.push_back({{i * 10, i * 10 + 10}, "section " + std::to_string(i / 2)});
  made.vectors = std::move(vectors);
  return made;
}

// Of a Status or a Result.
template <typename T>
testing::AssertionResult has_code(const T& outcome, StatusCode expected) {
  const Status status = core::detail::to_status(outcome);
  if (status.code() == expected) return testing::AssertionSuccess();
  return testing::AssertionFailure() << "saw " << status.to_string() << " ";
}

#define ASSERT_OK(expression) ASSERT_TRUE(has_code((expression), StatusCode::kOk))
#define EXPECT_OK(expression) EXPECT_TRUE(has_code((expression), StatusCode::kOk))
#define EXPECT_CODE(expression, code) EXPECT_TRUE(has_code((expression), StatusCode::code))

}  // namespace collegium::index
