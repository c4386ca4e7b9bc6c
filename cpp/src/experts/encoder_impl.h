#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "collegium/core/experts/encoder.h"
#include "experts/encoder_config.h"
#include "experts/encoder_head.h"
#include "experts/trunk.h"

namespace collegium::core {

// What one text became.
struct Tokens {
  Status status;
  Encoding encoding;
};

struct Encoder::Impl {
  std::string folder;
  EncoderConfig config;
  std::shared_ptr<const Tokenizer> tokenizer;
  std::unique_ptr<Trunk> trunk;
  std::unique_ptr<EncoderHead> head;
  std::string digest;
  std::size_t query_prompt_tokens = 0, document_prompt_tokens = 0;
  bool truncated_by_caller = false;  // otherwise than the folder says
  mutable ScratchList<TrunkScratch> scratch;

  static Result<std::unique_ptr<Impl>> load(const std::string& folder,
                                            const EncoderOptions& options);

  const std::string& prompt(TextKind kind) const {
    return kind == TextKind::kQuery ? config.query_prompt : config.document_prompt;
  }
  Result<Encoding> tokenize(std::string_view text, TextKind kind) const;

  // Which experts the texts are encoded under: each under one of its own, or all under each.
  struct Plan {
    std::span<const TrunkLora* const> own;    // (texts,), null for the plain trunk; or empty
    std::span<const TrunkLora* const> under;  // (experts,); or empty
    std::size_t vectors_per_text() const { return under.empty() ? 1 : under.size(); }
  };
  // (texts, vectors_per_text, dim)
  Result<Embeddings> encode(std::span<const std::string_view> texts, TextKind kind,
                            const Plan& plan, const ProgressCallback& progress) const;
  // The same for texts `begin` and up of the plan, tokenized, into out.
  void embed(std::span<const Tokens> tokens, const Plan& plan, std::size_t begin, float* out) const;
  // Texts `members` of those as one micro-batch.
  void embed_batch(std::span<const Tokens> tokens, std::span<const std::size_t> members,
                   const Plan& plan, std::size_t begin, bool parallel, float* out) const;

  Result<std::vector<float>> token_vectors(std::string_view text, TextKind kind) const;
};

}  // namespace collegium::core
