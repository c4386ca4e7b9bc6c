// What makes generations quicker and must not change one of their bits: guesses by prompt lookup,
// and beginnings that the requests of a batch read once.
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include "collegium/core/lm/generation.h"
#include "collegium/core/lm/language_model.h"
#include "lm/same_answer.h"
#include "lm/tiny_models.h"

namespace collegium::core {
namespace {

constexpr std::size_t kContext = 96;

std::shared_ptr<const LanguageModel> tiny(LmCompute compute = LmCompute::kExact) {
  static const auto exact = *LanguageModel::load(test_data("tiny_llama.gguf"));
  static const auto fast =
      *LanguageModel::load(test_data("tiny_llama.gguf"), {.compute = LmCompute::kFast});
  return compute == LmCompute::kFast ? fast : exact;
}

// Prompts that repeat themselves, and options under which a random model does so too or not.
std::string random_prompt(std::mt19937& random) {
  const std::size_t size = 1 + random() % 70;
  const std::size_t period = 1 + random() % 9;
  std::string prompt;
  for (std::size_t i = 0; i < size; ++i)
    prompt += static_cast<char>('a' + (random() % 5 == 0 ? random() % 26 : i % period));
  return prompt;
}
GenerateOptions random_options(std::mt19937& random) {
  GenerateOptions options;
  options.max_new_tokens = 1 + random() % 60;
  options.temperature = random() % 2 == 0 ? 0.0f : 0.5f * static_cast<float>(random() % 12);
  options.seed = random();
  options.log_probabilities = random() % 2 == 0;
  options.alternatives = random() % 3 == 0 ? 4 : 0;
  options.repetition_penalty = random() % 4 == 0 ? 1.3f : 1.0f;
  if (random() % 4 == 0) options.stop = {"th", "e"};
  return options;
}

TEST(PromptLookup, ChangesNoBitOfAnyAnswer) {
  std::mt19937 random(5);
  std::size_t guessed = 0, accepted = 0;
  for (int i = 0; i < 150; ++i) {
    const auto model = tiny(i % 2 == 0 ? LmCompute::kExact : LmCompute::kFast);
    const std::string prompt = random_prompt(random);
    GenerateOptions options = random_options(random);
    const auto plain = model->generate(prompt, options);
    ASSERT_TRUE(plain.ok()) << plain.status().to_string();
    EXPECT_EQ(plain->guessed_tokens, 0u);
    options.prompt_lookup = 1 + random() % GenerateOptions::kMaxLookup;
    const auto quick = model->generate(prompt, options);
    ASSERT_TRUE(quick.ok()) << quick.status().to_string();
    expect_same_answer(*quick, *plain);
    EXPECT_LE(quick->accepted_tokens, quick->guessed_tokens);
    guessed += quick->guessed_tokens;
    accepted += quick->accepted_tokens;
  }
  // Some were right and some were wrong, or nothing was tested.
  EXPECT_GT(accepted, 100u);
  EXPECT_GT(guessed, accepted + 50);
}

// A greedy random model soon repeats itself, so that most of it is guessed.
TEST(PromptLookup, FewerPassesGoThroughTheLayers) {
  GenerateOptions options;
  options.max_new_tokens = 80;
  const auto steps_of = [&] {
    std::size_t steps = 0;
    const auto generation = tiny()->generate("the", options, {}, [&](const Progress& progress) {
      steps += progress.stage == "generate";
      return true;
    });
    EXPECT_TRUE(generation.ok());
    return steps;
  };
  const std::size_t plain = steps_of();
  options.prompt_lookup = 16;
  EXPECT_LT(steps_of(), plain * 2 / 3);
}

TEST(PromptLookup, IsWithinItsRange) {
  GenerateOptions options;
  options.prompt_lookup = GenerateOptions::kMaxLookup + 1;
  const auto refused = tiny()->generate("the", options);
  EXPECT_EQ(refused.status().code(), StatusCode::kInvalidArgument);
  EXPECT_NE(refused.status().message().find("prompt_lookup: 65"), std::string::npos);
}

// The context ends in the middle of guesses.
TEST(PromptLookup, EndsWhereTheContextDoes) {
  GenerateOptions options;
  options.max_new_tokens = 1000;
  const auto plain = *tiny()->generate(std::string(30, 'x'), options);
  options.prompt_lookup = 64;
  const auto quick = *tiny()->generate(std::string(30, 'x'), options);
  expect_same_answer(quick, plain);
}

TEST(Draft, ChangesNoBitOfAnyAnswer) {
  std::mt19937 random(8);
  std::size_t guessed = 0, accepted = 0;
  for (int round = 0; round < 40; ++round) {
    const std::string prompt = random_prompt(random);
    GenerateOptions options = random_options(random);
    const auto plain = tiny()->generate(prompt, options);
    ASSERT_TRUE(plain.ok());
    for (const std::size_t most : {1u, 4u, 20u}) {
      options.draft = tiny(LmCompute::kFast);
      options.draft_tokens = most;
      options.prompt_lookup = round % 2 == 0 ? 0 : 6;
      const auto quick = tiny()->generate(prompt, options);
      ASSERT_TRUE(quick.ok()) << quick.status().to_string();
      expect_same_answer(*quick, *plain);
      guessed += quick->guessed_tokens;
      accepted += quick->accepted_tokens;
      // Of several requests each has a draft of its own.
      GenerateRequest request;
      request.prompt = prompt;
      request.options = options;
      const auto batch = tiny()->generate_batch(std::vector<GenerateRequest>(3, request));
      ASSERT_TRUE(batch.ok());
      for (const auto& one : *batch) expect_same_answer(*one, *plain);
    }
  }
  // The model and its twin mostly agree, sampled or not, as both draw with the same numbers.
  EXPECT_GT(accepted, guessed / 2);
}

TEST(Draft, HasTheSameVocabularyAndIsCounted) {
  GenerateOptions options;
  options.max_new_tokens = 20;
  const double flops = tiny()->generate("the thing", options)->flops;
  options.draft = *LanguageModel::load(test_data("gguf_models/olmoe.gguf"));
  EXPECT_EQ(tiny()->generate("the thing", options).status().code(), StatusCode::kInvalidArgument);
  options.draft = tiny(LmCompute::kFast);
  EXPECT_GT(tiny()->generate("the thing", options)->flops, flops);
  for (const std::size_t tokens : {std::size_t{0}, GenerateOptions::kMaxLookup + 1}) {
    options.draft_tokens = tokens;
    EXPECT_EQ(tiny()->generate("the thing", options).status().code(), StatusCode::kInvalidArgument);
  }
  options.draft_tokens = 4;
  options.max_memory_bytes = tiny()->generation_bytes(40);
  EXPECT_EQ(tiny()->generate("the thing", options).status().code(), StatusCode::kResourceExhausted);
}

TEST(Draft, EndsWhereTheContextDoes) {
  GenerateOptions options;
  options.max_new_tokens = 1000;
  const auto plain = tiny()->generate("the thing", options);
  options.draft = tiny(LmCompute::kFast);
  options.draft_tokens = 9;
  const auto quick = tiny()->generate("the thing", options);
  ASSERT_TRUE(plain.ok() && quick.ok());
  expect_same_answer(*quick, *plain);
}

TEST(SharedBeginnings, AreReadOnceAndChangeNoBit) {
  std::mt19937 random(11);
  for (int i = 0; i < 30; ++i) {
    const auto model = tiny(i % 2 == 0 ? LmCompute::kExact : LmCompute::kFast);
    std::vector<std::string> beginnings;
    for (int b = 0; b < 3; ++b) {
      beginnings.emplace_back();
      for (std::size_t n = random() % 60; n != 0; --n)
        beginnings.back() += static_cast<char>('a' + random() % 26);
    }
    std::vector<GenerateRequest> requests(1 + random() % 12);
    for (GenerateRequest& request : requests) {
      request.prompt = beginnings[random() % beginnings.size()];
      for (std::size_t n = 1 + random() % 12; n != 0; --n)
        request.prompt += static_cast<char>('a' + random() % 3);
      request.options = random_options(random);
      if (random() % 3 == 0) request.options.prompt_lookup = 8;
    }
    const auto results = *model->generate_batch(requests);
    for (std::size_t r = 0; r < requests.size(); ++r) {
      const auto alone = model->generate(requests[r].prompt, requests[r].options);
      ASSERT_TRUE(alone.ok() && results[r].ok());
      expect_same_answer(*results[r], *alone);
      EXPECT_EQ(alone->shared_tokens, 0u);
      EXPECT_LT(results[r]->shared_tokens, results[r]->prompt_tokens);
    }
  }
}

TEST(SharedBeginnings, OfOnePassageAreSharedByAllQuestions) {
  const std::string passage(50, 'p');
  std::vector<GenerateRequest> requests;
  for (const char* question : {"who", "what", "when", "where"}) {
    requests.push_back({passage + question, {}, {}, {}});
    requests.back().options.max_new_tokens = 4;
  }
  const auto results = *tiny()->generate_batch(requests);
  const std::size_t passage_tokens = tiny()->tokenizer().encode(passage, {})->ids.size();
  EXPECT_EQ(results[0]->shared_tokens, 0u);
  for (std::size_t i = 1; i < results.size(); ++i) {
    EXPECT_GE(results[i]->shared_tokens + 2, passage_tokens) << i;
    EXPECT_LT(results[i]->flops, results[0]->flops / 2);
  }
}

// Who reads for the others is cancelled or fails: they read by themselves.
TEST(SharedBeginnings, DoNotShareWhatEndsTheOther) {
  const std::string passage(60, 'q');
  GenerateOptions options;
  options.max_new_tokens = 5;
  const auto alone = *tiny()->generate(passage + "xy", options);
  std::vector<GenerateRequest> requests(3, {passage + "xy", options, {}, {}});
  requests[0].progress = [](const Progress&) { return false; };
  requests[1].on_token = [](std::string_view) -> bool { throw std::runtime_error("thrown"); };
  const auto results = *tiny()->generate_batch(requests);
  EXPECT_EQ(results[0].status().code(), StatusCode::kCancelled);
  EXPECT_EQ(results[1].status().code(), StatusCode::kInternal);
  ASSERT_TRUE(results[2].ok());
  expect_same_answer(*results[2], alone);
}

// A LoRA has keys and values of its own.
TEST(SharedBeginnings, AreOfTheSameLora) {
  const auto lora = *tiny()->load_lora(test_data("decoders/loras/gguf-attention"));
  const std::string passage(60, 'z');
  GenerateOptions options;
  options.max_new_tokens = 5;
  options.log_probabilities = true;
  std::vector<GenerateRequest> requests(4, {passage, options, {}, {}});
  requests[1].options.lora = requests[3].options.lora = lora;
  const auto results = *tiny()->generate_batch(requests);
  EXPECT_EQ(results[1]->shared_tokens, 0u);
  EXPECT_GT(results[2]->shared_tokens, 0u);
  EXPECT_GT(results[3]->shared_tokens, 0u);
  for (std::size_t i = 0; i < requests.size(); ++i)
    expect_same_answer(*results[i], *tiny()->generate(passage, requests[i].options));
  EXPECT_NE(results[3]->log_probabilities, results[2]->log_probabilities);
}

TEST(SharedBeginnings, LeaveRoomForTheContext) {
  std::vector<GenerateRequest> requests(3, {std::string(kContext - 6, 'c'), {}, {}, {}});
  const auto results = *tiny()->generate_batch(requests);
  for (const auto& result : results) {
    ASSERT_TRUE(result.ok());
    expect_same_answer(*result, *tiny()->generate(requests[0].prompt));
  }
}

}  // namespace
}  // namespace collegium::core
