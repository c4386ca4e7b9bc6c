#include "collegium/core/isa.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <set>
#include <sstream>
#include <string>

namespace collegium::core {
namespace {

using ::testing::HasSubstr;

constexpr Isa kAll[] = {Isa::kScalar, Isa::kAvx2, Isa::kAvx512, Isa::kVnni, Isa::kAmx};

TEST(Isa, NamesParseBack) {
  for (const Isa isa : kAll) EXPECT_EQ(*parse_isa(isa_name(isa)), isa);
}

TEST(Isa, UnknownNamesAreRefusedWithTheListOfNames) {
  for (const char* name : {"", "AVX2", "avx", "avx2 ", "sse2"}) {
    const Status status = parse_isa(name).status();
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument) << name;
    EXPECT_THAT(status.message(), HasSubstr("scalar, avx2, avx512, vnni, amx"));
  }
}

TEST(Isa, AvailableLevelsRunFromScalarToTheMachines) {
  const auto isas = available_isas();
  ASSERT_FALSE(isas.empty());
  EXPECT_EQ(isas.front(), Isa::kScalar);
  EXPECT_EQ(isas.back(), machine_isa());
  EXPECT_LE(active_isa(), machine_isa());
}

// Linux's own reading of CPUID and XCR0.
TEST(Isa, MachineLevelIsWhatTheKernelReports) {
  std::ifstream cpuinfo("/proc/cpuinfo");
  std::set<std::string> flags;
  for (std::string line; flags.empty() && std::getline(cpuinfo, line);) {
    if (!line.starts_with("flags")) continue;
    std::istringstream words(line.substr(line.find(':') + 1));
    for (std::string word; words >> word;) flags.insert(word);
  }
  if (flags.empty()) GTEST_SKIP() << "/proc/cpuinfo names no flags here";
  const auto has = [&](std::initializer_list<const char*> names) {
    for (const char* name : names)
      if (!flags.contains(name)) return false;
    return true;
  };
  Isa expected = Isa::kScalar;
  if (has({"avx2", "fma", "f16c"})) {
    expected = Isa::kAvx2;
    if (has({"avx512f", "avx512bw", "avx512dq", "avx512vl"})) {
      expected = Isa::kAvx512;
      if (has({"avx512_vnni"})) {
        expected = Isa::kVnni;
        // ARCH_REQ_XCOMP_PERM for XFEATURE_XTILEDATA: a container may refuse it.
        if (has({"amx_tile", "amx_int8", "amx_bf16"}) &&
            ::syscall(SYS_arch_prctl, 0x1023L, 18L) == 0) {
          expected = Isa::kAmx;
        }
      }
    }
  }
  EXPECT_EQ(machine_isa(), expected)
      << isa_name(machine_isa()) << " against " << isa_name(expected);
}

// The environment is read once, so each value needs a process of its own.
class IsaEnvironmentDeathTest : public ::testing::Test {
 protected:
  void SetUp() override { ::testing::GTEST_FLAG(death_test_style) = "threadsafe"; }
};

[[noreturn]] void leave(bool good) { std::_Exit(good ? 0 : 1); }

TEST_F(IsaEnvironmentDeathTest, CapsTheLevel) {
  EXPECT_EXIT(
      {
        ::setenv("COLLEGIUM_ISA", "scalar", 1);
        leave(active_isa() == Isa::kScalar && *requested_isa() == Isa::kScalar);
      },
      ::testing::ExitedWithCode(0), "");
}

TEST_F(IsaEnvironmentDeathTest, NeverRaisesTheLevel) {
  EXPECT_EXIT(
      {
        ::setenv("COLLEGIUM_ISA", "amx", 1);
        leave(active_isa() == machine_isa());
      },
      ::testing::ExitedWithCode(0), "");
}

TEST_F(IsaEnvironmentDeathTest, UnknownValueCapsNothingAndIsReported) {
  EXPECT_EXIT(
      {
        ::setenv("COLLEGIUM_ISA", "avx1024", 1);
        const auto requested = requested_isa();
        leave(active_isa() == machine_isa() && !requested.ok() &&
              requested.status().message().find("COLLEGIUM_ISA") != std::string::npos &&
              requested.status().message().find("'avx1024'") != std::string::npos);
      },
      ::testing::ExitedWithCode(0), "");
}

TEST_F(IsaEnvironmentDeathTest, EmptyValueCapsNothing) {
  EXPECT_EXIT(
      {
        ::setenv("COLLEGIUM_ISA", "", 1);
        leave(active_isa() == machine_isa() && requested_isa().ok());
      },
      ::testing::ExitedWithCode(0), "");
}

}  // namespace
}  // namespace collegium::core
