#include "collegium/core/lm/token_trace.h"

#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

#include "collegium/core/bytes.h"
#include "collegium/core/file_envelope.h"
#include "collegium/core/lm/token_routers.h"
#include "hostile.h"
#include "lm/token_router_testing.h"
#include "scratch_folder.h"

namespace collegium::core {
namespace {

constexpr FileKind kKind{"moetrace", 1};

// Two MoE layers, a prompt of three tokens and one more, as a decoder would record them.
struct Recorded {
  TokenTrace trace;
  std::vector<Routing> routings;  // piece 0 of layers 1 and 4, piece 1 of both
  std::vector<GateLogits> logits;

  explicit Recorded(TokenTrace::Parts parts = {}) : trace(parts) {
    const auto router = made(make_top_p_router({0.6f}));
    RoutingOptions options;
    options.masks = {{std::size_t{4}, {2}}};
    const RoutingPlan::Layer layers[] = {{1, 4, router}, {4, 6, router}};
    const RoutingPlan plan = made(RoutingPlan::make(options, layers));
    trace.describe("0123abcd", options.describe());
    RouterStates states;
    std::size_t position = 10;
    const std::vector<std::vector<std::int32_t>> pieces = {{7, 8, 9}, {5}};
    for (const auto& ids : pieces) {
      trace.begin_tokens(position, ids);
      for (const auto& layer : layers) {
        logits.push_back(random_logits(ids.size(), layer.experts, position + layer.layer));
        Routing& routing = routings.emplace_back();
        const Status status =
            plan.route(logits.back().input(position, layer.layer), states, routing, &trace);
        EXPECT_TRUE(status.ok()) << status.to_string();
        std::vector<float> norms;
        for (std::size_t p = 0; p < routing.ids.size(); ++p)
          norms.push_back(static_cast<float>(p) + 0.5f);
        trace.record_output_norms(layer.layer, norms);
      }
      position += ids.size();
    }
  }
};

void expect_equal(const TokenTrace& a, const TokenTrace& b) {
  EXPECT_EQ(a.token_ids(), b.token_ids());
  EXPECT_EQ(a.first_position(), b.first_position());
  EXPECT_EQ(a.routing(), b.routing());
  EXPECT_EQ(a.model(), b.model());
  EXPECT_EQ(a.parts().logits, b.parts().logits);
  EXPECT_EQ(a.parts().output_norms, b.parts().output_norms);
  ASSERT_EQ(a.layers().size(), b.layers().size());
  for (std::size_t l = 0; l < a.layers().size(); ++l) {
    const TokenTrace::Layer& x = a.layers()[l];
    const TokenTrace::Layer& y = b.layers()[l];
    EXPECT_EQ(x.layer, y.layer);
    EXPECT_EQ(x.experts, y.experts);
    EXPECT_EQ(x.gate_rows, y.gate_rows);
    EXPECT_EQ(x.logits, y.logits);
    EXPECT_EQ(x.offsets, y.offsets);
    EXPECT_EQ(x.ids, y.ids);
    EXPECT_EQ(x.weights, y.weights);
    EXPECT_EQ(x.output_norms, y.output_norms);
  }
}

TEST(TokenTrace, HoldsWhatTheRouterSawAndReturned) {
  const Recorded recorded;
  const TokenTrace& trace = recorded.trace;
  EXPECT_EQ(trace.token_ids(), (std::vector<std::int32_t>{7, 8, 9, 5}));
  EXPECT_EQ(trace.first_position(), 10u);
  EXPECT_EQ(trace.routing(), "off in layer 4: 2");
  ASSERT_EQ(trace.layers().size(), 2u);
  EXPECT_EQ(trace.layer(2), nullptr);
  for (std::size_t l = 0; l < 2; ++l) {
    const TokenTrace::Layer& layer = trace.layers()[l];
    EXPECT_EQ(layer.layer, l == 0 ? 1u : 4u);
    EXPECT_EQ(trace.layer(layer.layer), &layer);
    ASSERT_EQ(layer.rows(), 4u);
    ASSERT_EQ(layer.logits.size(), 4 * layer.experts);
    std::vector<std::vector<ExpertWeight>> expected = by_token(recorded.routings[l]);
    const auto last = by_token(recorded.routings[2 + l]);
    expected.insert(expected.end(), last.begin(), last.end());
    for (std::size_t t = 0; t < 4; ++t) {
      std::vector<ExpertWeight> row;
      for (std::size_t p = layer.offsets[t]; p < layer.offsets[t + 1]; ++p)
        row.push_back({layer.ids[p], layer.weights[p]});
      EXPECT_EQ(row, expected[t]);
      const GateLogits& logits = recorded.logits[(t == 3 ? 2 : 0) + l];
      for (std::size_t e = 0; e < layer.experts; ++e) {
        const float seen = layer.logits[t * layer.experts + e];
        if (l == 1 && e == 2)
          EXPECT_TRUE(std::isinf(seen) && seen < 0);  // switched off
        else
          EXPECT_EQ(seen, logits.values[(t % 3) * layer.experts + e]);
      }
    }
    EXPECT_EQ(layer.output_norms.size(), layer.ids.size());
  }
}

TEST(TokenTrace, ASavedTraceComesBackWhole) {
  const ScratchFolder folder;
  for (const TokenTrace::Parts parts :
       {TokenTrace::Parts{true, true}, {true, false}, {false, true}, {false, false}}) {
    const Recorded recorded(parts);
    ASSERT_TRUE(recorded.trace.save(folder / "a.trace").ok());
    const auto loaded = TokenTrace::load(folder / "a.trace");
    ASSERT_TRUE(loaded.ok()) << loaded.status().to_string();
    expect_equal(*loaded, recorded.trace);
    EXPECT_EQ(loaded->layers()[0].logits.empty(), !parts.logits);
    EXPECT_EQ(loaded->layers()[0].output_norms.empty(), !parts.output_norms);
  }
  ASSERT_TRUE(TokenTrace().save(folder / "empty.trace").ok());
  EXPECT_TRUE(made(TokenTrace::load(folder / "empty.trace")).layers().empty());
}

TEST(TokenTrace, WhatIsNotWholeIsNotSaved) {
  const ScratchFolder folder;
  Recorded recorded;
  recorded.trace.begin_tokens(14, std::vector<std::int32_t>{1});
  expect_refused(recorded.trace.save(folder / "x"), "layer 1: rows of 4 tokens, expected 5",
                 StatusCode::kFailedPrecondition);
  Recorded norms;
  norms.trace.record_output_norms(4, std::vector<float>{1.0f});
  expect_refused(norms.trace.save(folder / "x"), "layer 4: ", StatusCode::kFailedPrecondition);
  EXPECT_EQ(folder.num_files(), 0u);
}

// The envelope's checksums find damage; here it is written with right ones.
TEST(TokenTrace, HostilePayloadsAreCorruptionAndNeverMore) {
  const ScratchFolder folder;
  const Recorded recorded;
  ASSERT_TRUE(recorded.trace.save(folder / "good").ok());
  const Bytes good = made(read_file_envelope(folder / "good", kKind)).payload;
  const auto load = [&](const Bytes& payload) {
    EXPECT_TRUE(write_file_envelope(folder / "bad", kKind, payload).ok());
    return TokenTrace::load(folder / "bad");
  };
  for (std::size_t size = 0; size < good.size(); size += 3)  // each write is an fsync
    EXPECT_EQ(
        load(Bytes(good.begin(), good.begin() + static_cast<std::ptrdiff_t>(size))).status().code(),
        StatusCode::kCorruption)
        << size;
  Bytes longer = good;
  longer.push_back(std::byte{0});
  expect_refused(load(longer).status(), "1 bytes after the last layer", StatusCode::kCorruption);
  Random random(3);
  for (int round = 0; round < 150; ++round) {
    Bytes bytes = good;
    for (std::uint64_t i = 0; i <= random.below(4); ++i)
      bytes[random.below(bytes.size())] =
          static_cast<std::byte>(random.below(2) == 0 ? 0xff : random.below(256));
    const auto result = load(bytes);
    EXPECT_TRUE(result.ok() || result.status().code() == StatusCode::kCorruption);
  }
}

TEST(TokenTrace, DamagedAndNewerFilesAreTypedErrors) {
  const ScratchFolder folder;
  const Recorded recorded;
  ASSERT_TRUE(recorded.trace.save(folder / "good").ok());
  const Bytes good = read_bytes(folder / "good");
  for_each_truncation(good, [](const std::string& path, std::size_t size) {
    EXPECT_EQ(TokenTrace::load(path).status().code(), StatusCode::kCorruption) << size;
  });
  for_each_mutation(good, good.size(), 200, [&](const std::string& path, int round) {
    const auto loaded = TokenTrace::load(path);
    if (read_bytes(path) == good) return;  // changed to what it was
    EXPECT_FALSE(loaded.ok()) << round;
  });
  ASSERT_TRUE(write_file_envelope(folder / "newer", {"moetrace", 2}, {}).ok());
  expect_refused(TokenTrace::load(folder / "newer").status(), "version 2",
                 StatusCode::kNotSupported);
  expect_refused(TokenTrace::load(folder / "none").status(), "none", StatusCode::kNotFound);
}

}  // namespace
}  // namespace collegium::core
