// Times of the products of one encoder (MiniLM-L6's shapes) by kind and number of rows, of what the
// processor could do at most, and of handing out tasks, as JSON on standard output, for tuning and
// for encoder_profile.py:
//   kernel_bench [seconds a figure]
// "hot" repeats one small product from the L1 cache; "model" goes through the weights of all
// layers, as a forward pass does. The kinds take turns, so that their ratio holds on a busy machine
// too.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "collegium/core/aligned_buffer.h"
#include "collegium/core/thread_pool.h"
#include "kernels/kernels_bf16.h"
#include "kernels/kernels_int8.h"

using namespace collegium::core;

namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

// Of a cloud's processor half the time may be somebody else's: the least is what the code takes.
double least(const std::vector<double>& times) {
  return *std::min_element(times.begin(), times.end());
}

struct Weights {
  std::size_t n, k;
  AlignedBuffer<float> panels;
  AlignedBuffer<std::int8_t> bytes;
  std::vector<float> scales;
  std::vector<std::int32_t> sums;
  AlignedBuffer<std::uint16_t> bf16;
};

std::vector<float> random_floats(std::size_t n, unsigned seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal;
  std::vector<float> out(n);
  for (float& x : out) x = normal(generator);
  return out;
}

std::vector<Weights> weights_of_model(const Kernels& kernels) {
  constexpr std::size_t kLayers = 6, kHidden = 384, kWidth = 1536;
  const auto values = random_floats(kHidden * kWidth, 1);
  std::vector<Weights> model;
  for (std::size_t layer = 0; layer < kLayers; ++layer) {
    for (const auto& [n, k] : std::vector<std::pair<std::size_t, std::size_t>>{
             {3 * kHidden, kHidden}, {kHidden, kHidden}, {kWidth, kHidden}, {kHidden, kWidth}}) {
      Weights w{n,
                k,
                AlignedBuffer<float>(num_panels(n) * kPanelWidth * k),
                AlignedBuffer<std::int8_t>(int8_panel_bytes(n, k)),
                std::vector<float>(int8_outputs(n)),
                std::vector<std::int32_t>(int8_outputs(n)),
                AlignedBuffer<std::uint16_t>(bf16_panel_size(n, k))};
      kernels.pack_panels(values.data(), k, n, k, w.panels.data());
      pack_panels_int8(values.data(), k, n, k, w.bytes.data(), w.scales.data(), w.sums.data());
      pack_panels_bf16(values.data(), k, n, k, w.bf16.data());
      model.push_back(std::move(w));
    }
  }
  return model;
}

struct Buffers {
  std::vector<float> in, out;
  AlignedBuffer<std::uint8_t> bytes;
  std::vector<float> scales;
  std::vector<std::int32_t> zeros;
  AlignedBuffer<float> rounded;
};

enum Kind { kFp32, kInt8, kBf16, kKinds };

void prepare(const Kernels& kernels, const Weights& w, std::size_t rows, Kind kind, Buffers& b) {
  if (kind == kBf16) kernels.round_rows_bf16(b.in.data(), w.k, rows, w.k, b.rounded.data());
  if (kind != kInt8) return;
  kernels.quantize_rows(b.in.data(), w.k, rows, w.k, b.bytes.data(), b.scales.data(),
                        b.zeros.data());
}

double multiply(const Kernels& kernels, const Weights& w, std::size_t rows, std::size_t n,
                Kind kind, Buffers& b) {
  if (kind == kBf16) {
    kernels.gemm_panels_bf16({b.rounded.data()}, rows, w.bf16.data(), n, w.k, nullptr, b.out.data(),
                             n);
  } else if (kind == kInt8) {
    kernels.gemm_panels_int8({b.bytes.data(), b.scales.data(), b.zeros.data()}, rows,
                             {w.bytes.data(), w.scales.data(), w.sums.data()}, n, w.k, nullptr,
                             b.out.data(), n);
  } else {
    kernels.gemm_panels(b.in.data(), w.k, rows, w.panels.data(), n, w.k, nullptr, b.out.data(), n);
  }
  return 2.0 * static_cast<double>(rows * n * w.k);
}

void products(const Kernels& kernels, double budget) {
  const auto model = weights_of_model(kernels);
  bool first = true;
  for (const std::size_t rows : {1, 4, 16, 32, 128, 1024}) {
    Buffers b{random_floats(rows * 1536, 2),
              std::vector<float>(rows * 1536),
              AlignedBuffer<std::uint8_t>(rows * 1536),
              std::vector<float>(rows),
              std::vector<std::int32_t>(rows),
              AlignedBuffer<float>(rows * 1536)};
    for (const bool hot : {true, false}) {
      std::vector<double> times[kKinds];
      double work = 0.0;
      const auto begin = Clock::now();
      while (times[0].size() < 5 || seconds_since(begin) < budget) {
        for (const Kind kind : {kFp32, kInt8, kBf16}) {
          work = 0.0;
          const auto start = Clock::now();
          if (hot) {
            prepare(kernels, model[0], rows, kind, b);
            for (int i = 0; i < 20; ++i) work += multiply(kernels, model[0], rows, 96, kind, b);
          } else {
            for (const Weights& w : model) {
              prepare(kernels, w, rows, kind, b);
              work += multiply(kernels, w, rows, w.n, kind, b);
            }
          }
          times[kind].push_back(seconds_since(start));
        }
      }
      const double fp32 = least(times[kFp32]), int8 = least(times[kInt8]);
      const double bf16 = least(times[kBf16]);
      std::printf(
          "%s  {\"rows\": %zu, \"weights\": \"%s\", \"fp32_gflops\": %.1f, \"int8_gops\": %.1f, "
          "\"fp32_ms\": %.3f, \"int8_ms\": %.3f, \"fp32/int8\": %.2f, "
          "\"bf16_ms\": %.3f, \"fp32/bf16\": %.2f}",
          first ? "" : ",\n", rows, hot ? "hot" : "model", work / fp32 * 1e-9, work / int8 * 1e-9,
          fp32 * 1e3, int8 * 1e3, fp32 / int8, bf16 * 1e3, fp32 / bf16);
      first = false;
    }
  }
}

void wait(double microseconds) {
  const auto begin = Clock::now();
  while (seconds_since(begin) < microseconds * 1e-6) {
  }
}

// What parallel_for takes beyond its work of 50 microseconds a thread, so long after the last one.
void hand_outs() {
  constexpr double kWork = 50.0;
  ThreadPool pool(2);
  bool first = true;
  for (const double pause : {0.0, 20.0, 80.0, 1000.0}) {
    std::vector<double> times;
    for (int i = 0; i < 500; ++i) {
      const auto begin = Clock::now();
      pool.parallel_for(2, [&](std::size_t) { wait(kWork); });
      times.push_back(seconds_since(begin) * 1e6 - kWork);
      wait(pause);
    }
    std::printf("%s  {\"pause_us\": %.0f, \"overhead_us\": %.1f}", first ? "" : ",\n", pause,
                least(times));
    first = false;
  }
}

// The least time of one of some runs.
template <typename Run>
double least_of(double budget, const Run& run) {
  double best = std::numeric_limits<double>::infinity();
  const auto begin = Clock::now();
  for (int i = 0; i < 20 || seconds_since(begin) < budget; ++i) {
    const auto start = Clock::now();
    run();
    best = std::min(best, seconds_since(start));
  }
  return best;
}

// Billions of operations a second of the level's widest multiply-adds with nothing to wait for.
// 0: not on this machine.
struct Peak {
  double fp32 = 0.0, int8 = 0.0, bf16 = 0.0;
};

#if defined(__x86_64__)
// Ten chains hide the latency.
#define TEN_TIMES(F) F(0) F(1) F(2) F(3) F(4) F(5) F(6) F(7) F(8) F(9)
#define FMA_256(I) "vfmadd231ps %%ymm14, %%ymm15, %%ymm" #I "\n"
#define FMA_512(I) "vfmadd231ps %%zmm14, %%zmm15, %%zmm" #I "\n"
#define CLOBBER(I) "xmm" #I,

Peak peak(Isa isa, double budget) {
  constexpr int kRounds = 20000;
  Peak result;
  if (isa == Isa::kScalar) return result;
  const bool wide = isa >= Isa::kAvx512;
  const double seconds = least_of(budget, [&] {
    __asm__ volatile("vxorps %%ymm14, %%ymm14, %%ymm14\nvxorps %%ymm15, %%ymm15, %%ymm15" ::
                         : "xmm14", "xmm15");
    for (int i = 0; i < kRounds; ++i) {
      if (wide)
        __asm__ volatile(TEN_TIMES(FMA_512)::: TEN_TIMES(CLOBBER) "memory");
      else
        __asm__ volatile(TEN_TIMES(FMA_256)::: TEN_TIMES(CLOBBER) "memory");
    }
    __asm__ volatile("vzeroupper" ::: "memory");
  });
  result.fp32 = 10.0 * kRounds * (wide ? 32 : 16) / seconds * 1e-9;
  if (isa != Isa::kAmx) return result;
  struct alignas(64) {
    std::uint8_t palette = 1, rest[15] = {};
    std::uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    std::uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
  } const config;
  __asm__ volatile("ldtilecfg %0" ::"m"(config));
  const double bytes = least_of(budget, [] {
    for (int i = 0; i < kRounds; ++i)
      __asm__ volatile(
          "tdpbusd %tmm6, %tmm4, %tmm0\ntdpbusd %tmm7, %tmm4, %tmm1\n"
          "tdpbusd %tmm6, %tmm5, %tmm2\ntdpbusd %tmm7, %tmm5, %tmm3");
  });
  const double halves = least_of(budget, [] {
    for (int i = 0; i < kRounds; ++i)
      __asm__ volatile(
          "tdpbf16ps %tmm6, %tmm4, %tmm0\ntdpbf16ps %tmm7, %tmm4, %tmm1\n"
          "tdpbf16ps %tmm6, %tmm5, %tmm2\ntdpbf16ps %tmm7, %tmm5, %tmm3");
  });
  __asm__ volatile("tilerelease");
  result.int8 = 4.0 * kRounds * 2 * 16 * 16 * 64 / bytes * 1e-9;
  result.bf16 = 4.0 * kRounds * 2 * 16 * 16 * 32 / halves * 1e-9;
  return result;
}
#else
Peak peak(Isa, double) { return {}; }
#endif

// Billions of bytes a second that one thread reads of as much memory as the weights of the model.
double stream(double budget) {
  const std::vector<std::uint64_t> numbers(std::size_t{10} << 17, 1);  // 10 MiB
  std::uint64_t total = 0;
  const double seconds = least_of(budget, [&] {
    std::uint64_t sums[8] = {};
    for (std::size_t i = 0; i < numbers.size(); i += 8)
      for (std::size_t j = 0; j < 8; ++j) sums[j] += numbers[i + j];
    for (const std::uint64_t sum : sums) total += sum;
  });
  if (total == 0) std::abort();  // so that the sums are needed
  return static_cast<double>(numbers.size() * sizeof(numbers[0])) / seconds * 1e-9;
}

}  // namespace

int main(int argc, char** argv) {
  const double budget = argc > 1 ? std::atof(argv[1]) : 0.5;
  const Kernels& kernels = kernels_for(active_isa());
  std::printf("{\"isa\": \"%s\", \"products\": [\n", std::string(isa_name(kernels.isa)).c_str());
  products(kernels, budget);
  const Peak most = peak(kernels.isa, budget);
  std::printf("\n], \"peak\": {\"fp32\": %.1f, \"int8\": %.1f, \"bf16\": %.1f, \"stream\": %.2f}",
              most.fp32, most.int8, most.bf16, stream(budget));
  std::printf(", \"parallel_for\": [\n");
  hand_outs();
  std::printf("\n]}\n");
  return 0;
}
