// What one generation says of itself, and several at once. Options: sampler_test.cc; text:
// generation_text_test.cc.
#include "collegium/core/lm/generation.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <set>
#include <stdexcept>

#include "collegium/core/lm/language_model.h"
#include "lm/same_answer.h"
#include "lm/tiny_models.h"

namespace collegium::core {
namespace {

constexpr std::size_t kVocab = 304, kContext = 96;

std::shared_ptr<const LanguageModel> tiny() {
  static const auto model = *LanguageModel::load(test_data("tiny_llama.gguf"));
  return model;
}

GenerateOptions sampling(std::size_t max_new_tokens, std::uint64_t seed) {
  GenerateOptions options;
  options.max_new_tokens = max_new_tokens;
  options.temperature = 6.0f;  // the random model's logits are far apart
  options.seed = seed;
  return options;
}

Generation generate(const std::string& prompt, const GenerateOptions& options) {
  auto generation = tiny()->generate(prompt, options);
  EXPECT_TRUE(generation.ok()) << generation.status().to_string();
  return *generation;
}

void expect_equal(const Generation& a, const Generation& b) {
  expect_same_answer(a, b);
  EXPECT_EQ(a.flops, b.flops);
}

// --- Why it ended ---

TEST(Generation, SaysWhyItEnded) {
  EXPECT_EQ(generate("the", sampling(3, 1)).finish_reason, FinishReason::kLength);
  std::set<FinishReason> reasons;
  for (std::uint64_t seed = 0; seed < 60; ++seed) {
    GenerateOptions options = sampling(1000, seed);
    options.temperature = 50.0f;
    const auto generation = generate(std::string(80, 'x'), options);
    reasons.insert(generation.finish_reason);
    EXPECT_EQ(generation.stopped(), generation.finish_reason == FinishReason::kEnd);
    if (generation.finish_reason == FinishReason::kContext) {
      EXPECT_EQ(generation.prompt_tokens + generation.ids.size(), kContext + 1);
    }
  }
  EXPECT_EQ(reasons, (std::set<FinishReason>{FinishReason::kEnd, FinishReason::kContext}));
  EXPECT_EQ(finish_reason_name(FinishReason::kContext), "context");
}

TEST(Generation, AStopTokenEndsItAndIsLeftOut) {
  const auto whole = generate("the thing", sampling(20, 3));
  ASSERT_EQ(whole.ids.size(), 20u);
  GenerateOptions options = sampling(20, 3);
  options.stop_ids = {whole.ids[9], whole.ids[15]};
  const auto place = std::find_if(whole.ids.begin(), whole.ids.end(), [&](std::int32_t id) {
    return id == options.stop_ids[0] || id == options.stop_ids[1];
  });
  const auto stopped = generate("the thing", options);
  EXPECT_EQ(stopped.finish_reason, FinishReason::kStop);
  EXPECT_TRUE(stopped.stopped());
  EXPECT_EQ(stopped.stop, "");
  EXPECT_EQ(stopped.ids, std::vector<std::int32_t>(whole.ids.begin(), place));
  options.stop_ids = {static_cast<std::int32_t>(kVocab)};
  const auto outside = tiny()->generate("the", options);
  EXPECT_EQ(outside.status().code(), StatusCode::kInvalidArgument);
  EXPECT_NE(outside.status().message().find("stop_ids[0]: 304"), std::string::npos);
}

// Any part of what a model writes, as stop string: the text ends before where it first stands, and
// nothing of it was streamed.
TEST(Generation, AStopStringEndsTheTextBeforeItWhereverTokensEnd) {
  std::mt19937 random(2);
  std::size_t across = 0;
  for (std::uint64_t seed = 0; seed < 60; ++seed) {
    const auto whole = generate("and", sampling(40, seed));
    if (whole.text.size() < 8) continue;
    const std::size_t begin = random() % (whole.text.size() - 4);
    GenerateOptions options = sampling(40, seed);
    options.stop = {whole.text.substr(begin, 1 + random() % 4)};
    if (!check_utf8(options.stop[0], "stop").ok()) continue;
    std::string streamed;
    const auto stopped = *tiny()->generate("and", options, [&](std::string_view piece) {
      streamed += piece;
      return true;
    });
    EXPECT_EQ(stopped.finish_reason, FinishReason::kStop);
    EXPECT_EQ(stopped.stop, options.stop[0]);
    EXPECT_EQ(stopped.text, whole.text.substr(0, whole.text.find(options.stop[0])));
    EXPECT_EQ(streamed, stopped.text);
    // The tokens are those that made it: the shortest beginning of the answer that has it.
    ASSERT_LE(stopped.ids.size(), whole.ids.size());
    EXPECT_TRUE(std::equal(stopped.ids.begin(), stopped.ids.end(), whole.ids.begin()));
    across += tiny()->tokenizer().token(stopped.ids.back()).size() < options.stop[0].size();
  }
  EXPECT_GT(across, 5u);
}

TEST(Generation, ACallbackThatSaysNoCancelsWithWhatWasStreamed) {
  std::string streamed;
  const auto generation = *tiny()->generate("the", sampling(40, 1), [&](std::string_view piece) {
    streamed += piece;
    return false;
  });
  EXPECT_EQ(generation.finish_reason, FinishReason::kCancelled);
  EXPECT_FALSE(generation.stopped());
  EXPECT_EQ(generation.text, streamed);
}

// --- Log-probabilities ---

TEST(Generation, LogProbabilitiesAreThoseOfTheModelItself) {
  GenerateOptions options = sampling(12, 4);
  options.top_k = 50;
  options.repetition_penalty = 1.3f;
  options.log_probabilities = true;
  options.alternatives = 5;
  const auto generation = generate("the thing", options);
  ASSERT_EQ(generation.ids.size(), 12u);
  ASSERT_EQ(generation.log_probabilities.size(), 12u);
  ASSERT_EQ(generation.alternatives.size(), 12u);
  auto ids = tiny()->tokenizer().encode("the thing", {})->ids;
  for (std::size_t i = 0; i < 12; ++i) {
    const auto logits = *tiny()->logits(ids);
    const std::vector<float> row(logits.end() - kVocab, logits.end());
    double sum = 0.0;
    for (const float logit : row) sum += std::exp(double(logit));
    std::vector<std::int32_t> order(kVocab);
    for (std::size_t k = 0; k < kVocab; ++k) order[k] = std::int32_t(k);
    std::stable_sort(order.begin(), order.end(), [&](std::int32_t a, std::int32_t b) {
      return row[std::size_t(a)] > row[std::size_t(b)];
    });
    const auto log_probability = [&](std::int32_t id) {
      return double(row[std::size_t(id)]) - std::log(sum);
    };
    EXPECT_NEAR(generation.log_probabilities[i], log_probability(generation.ids[i]), 1e-5);
    ASSERT_EQ(generation.alternatives[i].size(), 5u);
    for (std::size_t k = 0; k < 5; ++k) {
      EXPECT_EQ(generation.alternatives[i][k].id, order[k]);
      EXPECT_NEAR(generation.alternatives[i][k].log_probability, log_probability(order[k]), 1e-5);
    }
    ids.push_back(generation.ids[i]);
  }
  EXPECT_TRUE(generate("the thing", sampling(3, 4)).log_probabilities.empty());
}

// --- Several at once ---

// Prompts, options, stops of every kind: each result is that of the request alone.
TEST(GenerateBatch, GivesEachWhatItGetsAlone) {
  std::mt19937 random(8);
  for (int round = 0; round < 12; ++round) {
    std::vector<GenerateRequest> requests(1 + random() % 9);
    std::vector<std::string> streamed(requests.size());
    for (std::size_t i = 0; i < requests.size(); ++i) {
      GenerateRequest& request = requests[i];
      request.prompt.assign(1 + random() % 90, ' ');
      for (char& c : request.prompt) c = "the and ringo"[random() % 13];
      request.options = sampling(1 + random() % 30, random());
      if (random() % 3 == 0) request.options.temperature = 0.0f;
      if (random() % 3 == 0) request.options.top_k = 1 + random() % 40;
      if (random() % 3 == 0) request.options.top_p = 0.8f;
      if (random() % 3 == 0) request.options.min_p = 0.05f;
      if (random() % 3 == 0) request.options.typical_p = 0.9f;
      if (random() % 3 == 0) request.options.repetition_penalty = 1.2f;
      if (random() % 3 == 0) request.options.stop = {"e", "xx"};
      if (random() % 3 == 0) request.options.alternatives = 3;
      request.options.log_probabilities = random() % 2 == 0;
      request.on_token = [&text = streamed[i]](std::string_view piece) {
        text += piece;
        return true;
      };
    }
    const auto results = tiny()->generate_batch(requests);
    ASSERT_TRUE(results.ok()) << results.status().to_string();
    ASSERT_EQ(results->size(), requests.size());
    for (std::size_t i = 0; i < requests.size(); ++i) {
      ASSERT_TRUE((*results)[i].ok()) << (*results)[i].status().to_string();
      expect_equal(*(*results)[i], generate(requests[i].prompt, requests[i].options));
      EXPECT_EQ(streamed[i], (*results)[i]->text);
    }
  }
}

// More requests than rows of a pass.
TEST(GenerateBatch, TakesMoreRequestsThanGoThroughTheLayersTogether) {
  std::vector<GenerateRequest> requests(300);
  for (std::size_t i = 0; i < requests.size(); ++i)
    requests[i] = {std::string(1 + i % 7, 'a'), sampling(2, i), {}, {}};
  const auto results = *tiny()->generate_batch(requests);
  for (std::size_t i = 0; i < requests.size(); i += 37)
    expect_equal(*results[i], generate(requests[i].prompt, requests[i].options));
}

TEST(GenerateBatch, OneThatFailsFailsAlone) {
  const auto request = [](const std::string& prompt) {
    return GenerateRequest{prompt, sampling(8, 5), {}, {}};
  };
  std::vector<GenerateRequest> requests = {
      request("the"),  request(""),    request(std::string(96, 'x')),
      request("\xFF"), request("and"), request("one"),
      request("two"),  request("ring")};
  requests[4].options.top_p = 0.0f;
  requests[5].on_token = [](std::string_view) -> bool { throw std::runtime_error("thrown"); };
  requests[6].progress = [](const Progress& progress) { return progress.stage == "prompt"; };
  requests[7].on_token = [](std::string_view) { return false; };
  const auto results = *tiny()->generate_batch(requests);
  ASSERT_EQ(results.size(), 8u);
  expect_equal(*results[0], generate("the", sampling(8, 5)));
  for (const std::size_t i : {1, 2, 3, 4})
    EXPECT_EQ(results[i].status().code(), StatusCode::kInvalidArgument) << i;
  EXPECT_EQ(results[5].status().code(), StatusCode::kInternal);
  EXPECT_NE(results[5].status().message().find("thrown"), std::string::npos);
  EXPECT_EQ(results[6].status().code(), StatusCode::kCancelled);
  EXPECT_EQ(results[7]->finish_reason, FinishReason::kCancelled);
  EXPECT_TRUE(tiny()->generate_batch({})->empty());
}

TEST(GenerateBatch, ProgressMayCancelWhatStillRuns) {
  std::vector<GenerateRequest> requests = {{"the", sampling(2, 1), {}, {}},
                                           {"the", sampling(60, 1), {}, {}}};
  const auto results = *tiny()->generate_batch(requests, {}, [](const Progress& progress) {
    EXPECT_EQ(progress.stage, "requests");
    EXPECT_EQ(progress.total, 2u);
    return progress.done == 0;
  });
  EXPECT_TRUE(results[0].ok());
  EXPECT_EQ(results[1].status().code(), StatusCode::kCancelled);
}

// --- LoRAs ---

TEST(GenerateBatch, RequestsChooseALoraOneByOne) {
  const auto lora = tiny()->load_lora(test_data("decoders/loras/gguf-attention"));
  ASSERT_TRUE(lora.ok()) << lora.status().to_string();
  EXPECT_EQ((*lora)->modules().size(), 6u);
  EXPECT_EQ((*lora)->base_digest(), tiny()->digest());
  std::vector<GenerateRequest> requests(6);
  for (std::size_t i = 0; i < requests.size(); ++i) {
    requests[i] = {std::string(3 + 11 * i, "the"[i % 3]), sampling(9, 1), {}, {}};
    requests[i].options.log_probabilities = true;
    if (i % 2 == 1) requests[i].options.lora = *lora;
  }
  const auto results = *tiny()->generate_batch(requests);
  for (std::size_t i = 0; i < requests.size(); ++i) {
    expect_equal(*results[i], generate(requests[i].prompt, requests[i].options));
    GenerateOptions other = requests[i].options;
    other.lora = i % 2 == 1 ? nullptr : *lora;
    EXPECT_NE(generate(requests[i].prompt, other).log_probabilities, results[i]->log_probabilities);
  }
  // A score under it has the log-probability that a generation tells of the same token.
  GenerateOptions options = requests[1].options;
  options.max_new_tokens = 1;
  options.alternatives = kVocab;
  const auto told = generate("the th", options).alternatives.at(0);
  const std::string_view text = "the thx";
  ScoreOptions score;
  score.token_log_probabilities = true;
  score.lora = *lora;
  const auto scored = (*tiny()->score({&text, 1}, score))[0];
  ASSERT_EQ(scored.ids.size(), tiny()->tokenizer().encode("the th", {})->ids.size() + 1);
  const auto token = std::find_if(told.begin(), told.end(), [&](const TokenProbability& one) {
    return one.id == scored.ids.back();
  });
  ASSERT_NE(token, told.end());
  EXPECT_EQ(scored.log_probabilities.back(), token->log_probability);
}

TEST(GenerateBatch, ALoraOfAnotherModelIsRefused) {
  GenerateOptions options = sampling(3, 1);
  options.lora = *tiny()->load_lora(test_data("decoders/loras/gguf-attention"));
  const auto other = *LanguageModel::load(test_data("tiny_llama_mixed.gguf"));
  const auto refused = other->generate("the", options);
  EXPECT_EQ(refused.status().code(), StatusCode::kInvalidArgument);
  EXPECT_NE(refused.status().message().find("lora"), std::string::npos);
  EXPECT_EQ(tiny()->load_lora(test_data("no-such-folder")).status().code(), StatusCode::kNotFound);
}

// --- Memory ---

TEST(GenerateBatch, RefusesWhatCouldTakeTooMuchMemoryBeforeItRuns) {
  const std::size_t prompt = tiny()->tokenizer().encode("the thing", {})->ids.size();
  const std::size_t bytes = tiny()->generation_bytes(prompt + 20);
  // Two layers of keys and values of 32 numbers each, and something for choosing a token.
  EXPECT_GE(bytes, (prompt + 20) * 2 * 2 * 32 * sizeof(float));
  EXPECT_EQ(tiny()->generation_bytes(1000), tiny()->generation_bytes(kContext));
  GenerateOptions options = sampling(20, 1);
  options.max_memory_bytes = bytes;
  EXPECT_TRUE(tiny()->generate("the thing", options).ok());
  options.max_memory_bytes = bytes - 1;
  bool called = false;
  const auto refused = tiny()->generate("the thing", options, {}, [&](const Progress&) {
    called = true;
    return true;
  });
  EXPECT_EQ(refused.status().code(), StatusCode::kResourceExhausted);
  EXPECT_NE(refused.status().message().find(std::to_string(bytes)), std::string::npos);
  EXPECT_FALSE(called);

  options.max_memory_bytes = 0;
  const std::vector<GenerateRequest> requests(3, {"the thing", options, {}, {}});
  EXPECT_TRUE(tiny()->generate_batch(requests, {3 * bytes}).ok());
  EXPECT_EQ(tiny()->generate_batch(requests, {3 * bytes - 1}).status().code(),
            StatusCode::kResourceExhausted);
}

}  // namespace
}  // namespace collegium::core
