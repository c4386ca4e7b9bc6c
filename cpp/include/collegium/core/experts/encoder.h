#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "collegium/core/export.h"
#include "collegium/core/isa.h"
#include "collegium/core/progress.h"
#include "collegium/core/status.h"
#include "collegium/core/text/tokenizer.h"

namespace collegium::core {

class LoraAdapter;

// Chooses the prompt of the model's config_sentence_transformers.json that goes before a text: for
// a query "query", for a document the first there is of "document", "passage" and "corpus"; without
// one the default prompt, if it names any. (sentence-transformers 6 itself never comes to "passage"
// in encode_document, since it always has an empty "document".)
enum class TextKind { kQuery, kDocument };

// In what the trunk's products are computed: 32-bit floats; 8-bit integers with one scale for
// each output of the weights and each token of the activations; or bf16, weights and activations
// rounded to 8 significant bits and summed in fp32 (norms and sums stay fp32, below the level amx
// attention too; at amx its queries, keys, values and weights are rounded as well).
// bf16 is fast from the level amx on; below, it halves the weights' memory and takes about as long
// as fp32. kAuto: what the folder holds, which is fp32 unless it was converted otherwise.
enum class Compute { kAuto, kFp32, kInt8, kBf16 };

COLLEGIUM_API std::string_view compute_name(Compute compute) noexcept;  // "auto", "fp32", ...
// The compute a name means. invalid_argument for any other text; the message lists the names.
COLLEGIUM_API Result<Compute> parse_compute(std::string_view name);

struct EncoderOptions {
  Compute compute = Compute::kAuto;
  // With kInt8 and kBf16: layers that stay in fp32, each below the number of layers.
  std::vector<std::size_t> fp32_layers = {};
  // Keep the first so many dimensions of every vector (Matryoshka, arXiv 2205.13147), at most
  // dim() of the whole model. 0: what the model's "truncate_dim" says, else all. A shortened
  // vector is normalised again if the model ends with a normalisation.
  std::size_t truncate_dim = 0;
  Isa isa = active_isa();
};

// Text to vector: a transformer trunk with pooling (arXiv 1908.10084), read from a Hugging Face
// folder. Trunks: BERT (arXiv 1810.04805), DistilBERT, RoBERTa and XLM-R, MPNet, ModernBERT,
// NomicBERT. Sequences are packed, never padded, and every sum has one order, so
// a vector does not depend on its batch, on the number of threads or on the ISA level's tiling:
// bit-equal alone and in company. Immutable; any number of threads may encode at once.
class COLLEGIUM_API Encoder {
 public:
  // Needs config.json, tokenizer.json or vocab.txt, and model.safetensors, or without it
  // model.safetensors.index.json with its shards, or without these the model.packed that convert()
  // wrote; reads modules.json and the
  // folders of the Pooling and Dense modules it names, sentence_bert_config.json,
  // config_sentence_transformers.json, tokenizer_config.json. Whatever is asked for there and not
  // run here is not_supported, by name. not_found says which file; invalid_argument for a
  // truncate_dim above the model's dimensions.
  static Result<std::shared_ptr<const Encoder>> load(const std::string& folder,
                                                     const EncoderOptions& options = {});
  ~Encoder();

  std::size_t dim() const noexcept;
  std::size_t token_dim() const noexcept;   // of token_vectors()
  std::size_t max_tokens() const noexcept;  // a longer text is cut here, and encode() says so
  // What the model's prompt for `kind` leaves of max_tokens(): the tokens a text may have, special
  // tokens included, so that encode() cuts nothing. 0 if the prompt leaves nothing.
  std::size_t max_text_tokens(TextKind kind) const noexcept;
  Compute compute() const noexcept;  // kFp32, kInt8 or kBf16
  Isa isa() const noexcept;          // the level its kernels are of
  const Tokenizer& tokenizer() const noexcept;
  // 32 hex digits over weights, compute, tokenizer, pooling, prompts and length: equal digests,
  // equal vectors.
  const std::string& digest() const noexcept;
  const std::string& folder() const noexcept;
  // The files load() read, relative to folder(): what a copy of the encoder must hold.
  const std::vector<std::string>& files() const noexcept;
  // Multiply-adds x 2 for one sequence of `tokens` tokens.
  double flops(std::size_t tokens) const noexcept;

  struct Embeddings {
    std::vector<float> vectors;  // (texts, dim), row-major, L2-normalised if the model says so
    std::vector<std::size_t> num_tokens;  // (texts,), after truncation
    std::vector<bool> truncated;          // (texts,)
  };
  // invalid_argument for a text that is not UTF-8 (the message gives its position) or has no token
  // at all under a tokenizer that adds none, cancelled,
  // corruption if the weights overflow. What `progress` throws becomes internal.
  Result<Embeddings> encode(std::span<const std::string_view> texts, TextKind kind,
                            const ProgressCallback& progress = {}) const;
  // Writes this encoder to a new folder with its weights as the kernels want them (model.packed,
  // docs/formats.md): loading that maps them, copies nothing, and gives the same bits and digest.
  // already_exists if there is anything at `to`; invalid_argument if load() was asked to truncate
  // otherwise than the folder says; io_error, resource_exhausted, and nothing stays at `to`.
  Status convert(const std::string& to) const;

  // The LoRAs of a call, null for the plain encoder; each loaded for this encoder or one of the
  // same digest, else invalid_argument.
  using Loras = std::vector<std::shared_ptr<const LoraAdapter>>;
  // Text i under loras[i]: bit for bit the vector that text has alone. invalid_argument unless
  // there is one for each text.
  Result<Embeddings> encode(std::span<const std::string_view> texts, TextKind kind,
                            const Loras& loras, const ProgressCallback& progress = {}) const;
  // Every text under each of the LoRAs: vectors are (texts, loras, dim). The layers below the first
  // one a LoRA changes are run once for all. invalid_argument if there are none.
  Result<Embeddings> encode_under(std::span<const std::string_view> texts, TextKind kind,
                                  const Loras& loras, const ProgressCallback& progress = {}) const;
  // (tokens, token_dim()) hidden states of the last layer before pooling, for one text.
  Result<std::vector<float>> token_vectors(std::string_view text, TextKind kind) const;

 private:
  friend class LoraAdapter;
  struct Impl;
  Result<Embeddings> encode_by(std::span<const std::string_view> texts, TextKind kind,
                               const Loras& own, const Loras& under,
                               const ProgressCallback& progress) const;
  explicit Encoder(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace collegium::core
