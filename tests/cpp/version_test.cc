#include "collegium/core/version.h"

#include <gtest/gtest.h>

#include <regex>

#include "scratch_folder.h"

namespace collegium::core {
namespace {

TEST(Version, IsTheOneInTheProjectsCMakeLists) {
  const Bytes bytes = read_bytes(test_data("../../CMakeLists.txt"));
  const std::string text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  std::smatch match;
  ASSERT_TRUE(std::regex_search(text, match, std::regex(R"(project\(collegium VERSION (\S+))")));
  EXPECT_EQ(version(), match[1].str());
}

}  // namespace
}  // namespace collegium::core
