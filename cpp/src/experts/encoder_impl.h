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
  Isa isa = Isa::kScalar;
  std::vector<std::string> weight_files;  // the trunk's, of config.files
  std::size_t query_prompt_tokens = 0, document_prompt_tokens = 0;
  // The place of the first token that is pooled; beyond 0 where the prompt is not.
  std::size_t query_first_pooled = 0, document_first_pooled = 0;
  bool truncated_by_caller = false;  // otherwise than the folder says
  mutable ScratchList<TrunkScratch> scratch;

  static Result<std::unique_ptr<Impl>> load(const std::string& folder,
                                            const EncoderOptions& options);

  // The tokens of a text that are its prompt's, as sentence-transformers 6 counts them: of the
  // prompt alone, with the special tokens before it and without the one behind it.
  Result<std::size_t> count_prompt(const std::string& prompt) const;
  const std::string& prompt(TextKind kind) const {
    return kind == TextKind::kQuery ? config.query_prompt : config.document_prompt;
  }
  std::size_t first_pooled(TextKind kind) const {
    return kind == TextKind::kQuery ? query_first_pooled : document_first_pooled;
  }
  Result<Encoding> tokenize(std::string_view text, TextKind kind) const;

  // Which experts the texts are encoded under: each under one of its own, or all under each.
  struct Plan {
    std::span<const TrunkLora* const> own;    // (texts,), null for the plain trunk; or empty
    std::span<const TrunkLora* const> under;  // (experts,); or empty
    std::size_t first_pooled = 0;
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
