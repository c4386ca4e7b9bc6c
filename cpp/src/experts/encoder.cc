#include "collegium/core/experts/encoder.h"

#include <algorithm>
#include <cmath>
#include <exception>
#include <filesystem>
#include <new>
#include <utility>

#include "collegium/core/safetensors.h"
#include "collegium/core/thread_pool.h"
#include "experts/digest.h"
#include "experts/encoder_config.h"
#include "experts/encoder_head.h"
#include "experts/trunk.h"
#include "kernels/flush_denormals.h"
#include "kernels/kernels.h"

namespace collegium::core {
namespace {

// Tokens that go through the trunk together: enough that weights are read from memory rarely, few
// enough that activations stay in the cache. A longer sequence goes alone.
constexpr std::size_t kBatchTokens = 128;
// Texts are taken up in rounds of about so many tokens a thread; progress is reported and
// cancelling possible between rounds, and nothing but the vectors outlives one.
constexpr std::size_t kRoundTokens = 2048;
// A token is rarely shorter, so a round is rarely larger than meant.
constexpr std::size_t kBytesPerToken = 3;

// What one text became.
struct Tokens {
  Status status;
  Encoding encoding;
};

}  // namespace

struct Encoder::Impl {
  std::string folder;
  EncoderConfig config;
  std::shared_ptr<const Tokenizer> tokenizer;
  std::unique_ptr<Trunk> trunk;
  std::unique_ptr<EncoderHead> head;
  std::string digest;
  std::size_t query_prompt_tokens = 0, document_prompt_tokens = 0;
  mutable ScratchList<TrunkScratch> scratch;

  const std::string& prompt(TextKind kind) const {
    return kind == TextKind::kQuery ? config.query_prompt : config.document_prompt;
  }

  Result<Encoding> tokenize(std::string_view text, TextKind kind) const {
    const EncodeOptions options{.add_special_tokens = true, .max_tokens = config.max_tokens};
    const std::string& before = prompt(kind);
    if (before.empty()) return tokenizer->encode(text, options);
    // The bytes of the text alone are checked first, so that a message's offset is the caller's.
    COLLEGIUM_RETURN_IF_ERROR(check_utf8(text, "text"));
    return tokenizer->encode(before + std::string(text), options);
  }

  // Vectors of `tokens` into out (tokens.size(), dim). The tokens go into micro-batches; enough of
  // those for the threads, and each thread runs its own; else all threads share each product.
  void embed(std::span<const Tokens> tokens, float* out) const {
    const FlushDenormals flush;
    std::vector<std::size_t> begins;  // the first text of each micro-batch
    std::size_t filled = 0;
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      const std::size_t length = tokens[i].encoding.ids.size();
      if (begins.empty() || filled + length > kBatchTokens) {
        begins.push_back(i);
        filled = 0;
      }
      filled += length;
    }
    begins.push_back(tokens.size());
    const std::size_t batches = begins.size() - 1;
    const auto run = [&](std::size_t b, bool parallel) {
      PackedSequences sequences;
      for (std::size_t i = begins[b]; i < begins[b + 1]; ++i) {
        const auto& ids = tokens[i].encoding.ids;
        sequences.ids.insert(sequences.ids.end(), ids.begin(), ids.end());
        sequences.starts.push_back(sequences.ids.size());
      }
      auto activations = scratch.take();
      trunk->forward(sequences, parallel, *activations);
      for (std::size_t s = 0; s < sequences.size(); ++s) {
        const std::size_t start = sequences.starts[s];
        head->apply(activations->hidden.data() + start * config.trunk.hidden_size,
                    sequences.starts[s + 1] - start, out + (begins[b] + s) * head->dim());
      }
      scratch.give_back(std::move(activations));
    };
    ThreadPool& threads = default_pool();
    if (batches >= threads.num_threads()) {
      threads.parallel_for(batches, [&](std::size_t b) { run(b, false); });
    } else {
      for (std::size_t b = 0; b < batches; ++b) run(b, true);
    }
  }

  Result<Embeddings> encode(std::span<const std::string_view> texts, TextKind kind,
                            const ProgressCallback& progress) const {
    const std::size_t dim = head->dim();
    ThreadPool& threads = default_pool();
    const std::size_t round_bytes = kRoundTokens * kBytesPerToken * threads.num_threads();
    Embeddings result;
    result.vectors.resize(texts.size() * dim);
    result.num_tokens.reserve(texts.size());
    result.truncated.reserve(texts.size());
    std::vector<Tokens> round;
    for (std::size_t begin = 0; begin < texts.size();) {
      if (!report(progress, "encode", begin, texts.size())) {
        return Status::cancelled("encoding stopped after " + std::to_string(begin) + " of " +
                                 std::to_string(texts.size()) + " texts");
      }
      std::size_t end = begin;
      for (std::size_t bytes = 0; end < texts.size() && bytes < round_bytes; ++end) {
        const std::size_t length = prompt(kind).size() + texts[end].size() + 2 * kBytesPerToken;
        bytes += std::min(length, config.max_tokens * kBytesPerToken);
      }
      round.assign(end - begin, {});
      threads.parallel_for(round.size(), [&](std::size_t i) {
        auto encoding = tokenize(texts[begin + i], kind);
        if (encoding.ok()) {
          round[i].encoding = std::move(*encoding);
        } else {
          round[i].status = encoding.status();
        }
      });
      for (std::size_t i = 0; i < round.size(); ++i) {
        COLLEGIUM_RETURN_IF_ERROR(
            round[i].status.with_context("text " + std::to_string(begin + i)));
        result.num_tokens.push_back(round[i].encoding.ids.size());
        result.truncated.push_back(round[i].encoding.truncated);
      }
      float* vectors = result.vectors.data() + begin * dim;
      embed(round, vectors);
      for (std::size_t i = 0; i < round.size() * dim; ++i) {
        if (!std::isfinite(vectors[i])) {
          return Status::corruption(folder + ": the weights overflow on text " +
                                    std::to_string(begin + i / dim) + ": its vector is not finite");
        }
      }
      begin = end;
    }
    if (!texts.empty() && !report(progress, "encode", texts.size(), texts.size())) {
      return Status::cancelled("encoding stopped after its last text");
    }
    return result;
  }

  Result<std::vector<float>> token_vectors(std::string_view text, TextKind kind) const {
    const FlushDenormals flush;
    COLLEGIUM_ASSIGN_OR_RETURN(const Encoding encoding, tokenize(text, kind));
    PackedSequences sequences;
    sequences.ids = encoding.ids;
    sequences.starts.push_back(sequences.ids.size());
    auto activations = scratch.take();
    trunk->forward(sequences, true, *activations);
    const float* states = activations->hidden.data();
    std::vector<float> result(states, states + sequences.ids.size() * config.trunk.hidden_size);
    scratch.give_back(std::move(activations));
    return result;
  }

  static Result<std::unique_ptr<Impl>> load(const std::string& folder,
                                            const EncoderOptions& options);
};

namespace {

// Everything beside weights and tokenizer that a vector depends on.
void add_config(const EncoderConfig& config, std::size_t dim, ModelDigest& digest) {
  const TrunkConfig& trunk = config.trunk;
  digest.add("collegium encoder 2");
  for (std::size_t number :
       {static_cast<std::size_t>(trunk.architecture), trunk.vocab_size, trunk.hidden_size,
        trunk.num_layers, trunk.num_heads, trunk.intermediate_size, trunk.max_positions,
        trunk.type_vocab_size, static_cast<std::size_t>(trunk.activation), trunk.first_position,
        trunk.relative_buckets, config.max_tokens, dim, config.pooling.size(),
        config.head.size()}) {
    digest.add(static_cast<std::uint64_t>(number));
  }
  digest.add(std::span<const float>(&trunk.layer_norm_eps, 1));
  for (const AttentionSpan& span : trunk.spans) {
    digest.add(static_cast<std::uint64_t>(span.window));
    digest.add(std::span<const float>(&span.rotary_base, 1));
  }
  for (PoolingMode mode : config.pooling) digest.add(static_cast<std::uint64_t>(mode));
  digest.add(config.query_prompt);
  digest.add(config.document_prompt);
}

Status out_of_memory(const std::string& what) {
  return Status::resource_exhausted(what + ": out of memory");
}

}  // namespace

Result<std::unique_ptr<Encoder::Impl>> Encoder::Impl::load(const std::string& folder,
                                                           const EncoderOptions& options) {
  std::error_code error;
  if (!std::filesystem::is_directory(folder, error)) {
    return Status::not_found("no encoder folder " + folder);
  }
  auto impl = std::make_unique<Impl>();
  impl->folder = folder;
  const Kernels& kernels = kernels_for(std::min(options.isa, machine_isa()));
  COLLEGIUM_ASSIGN_OR_RETURN(impl->config, read_encoder_config(folder));
  EncoderConfig& config = impl->config;
  const std::string trunk = folder + "/" + config.trunk_folder;

  const std::string tokenizer_folder =
      config.trunk_folder.empty() ? folder : trunk.substr(0, trunk.size() - 1);
  COLLEGIUM_ASSIGN_OR_RETURN(LoadedTokenizer loaded, load_tokenizer(tokenizer_folder));
  impl->tokenizer = std::move(loaded.tokenizer);
  for (const std::string& file : loaded.files) config.files.push_back(config.trunk_folder + file);
  if (impl->tokenizer->vocab_size() > config.trunk.vocab_size) {
    return Status::corruption(trunk + loaded.files[0] + " has " +
                              std::to_string(impl->tokenizer->vocab_size()) +
                              " tokens, the model only " + std::to_string(config.trunk.vocab_size));
  }

  if (options.truncate_dim != 0) config.truncate_dim = options.truncate_dim;
  if (config.truncate_dim > config.dim) {
    return Status::invalid_argument("truncate_dim is " + std::to_string(config.truncate_dim) +
                                    ", must be at most the " + std::to_string(config.dim) +
                                    " dimensions of " + folder);
  }
  const std::size_t dim = config.truncate_dim == 0 ? config.dim : config.truncate_dim;
  const std::string weights = trunk + "model.safetensors";
  COLLEGIUM_ASSIGN_OR_RETURN(const SafeTensors file, SafeTensors::open(weights));
  config.files.push_back(config.trunk_folder + "model.safetensors");
  ModelDigest digest;
  add_config(config, dim, digest);
  digest.add(impl->tokenizer->digest());
  for (auto& [prompt, tokens] :
       {std::pair(&config.query_prompt, &impl->query_prompt_tokens),
        std::pair(&config.document_prompt, &impl->document_prompt_tokens)}) {
    COLLEGIUM_ASSIGN_OR_RETURN(const Encoding encoding,
                               impl->tokenizer->encode(*prompt, {.add_special_tokens = false}));
    *tokens = encoding.ids.size();
  }
  COLLEGIUM_ASSIGN_OR_RETURN(impl->trunk,
                             Trunk::load(file, weights, config.trunk, kernels, digest));
  COLLEGIUM_ASSIGN_OR_RETURN(impl->head, EncoderHead::load(folder, config, kernels, digest));
  impl->digest = digest.hex();
  std::sort(config.files.begin(), config.files.end());
  return impl;
}

Encoder::Encoder(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Encoder::~Encoder() = default;

Result<std::shared_ptr<const Encoder>> Encoder::load(const std::string& folder,
                                                     const EncoderOptions& options) {
  try {
    COLLEGIUM_ASSIGN_OR_RETURN(auto impl, Impl::load(folder, options));
    return std::shared_ptr<const Encoder>(new Encoder(std::move(impl)));
  } catch (const std::bad_alloc&) {
    return out_of_memory("loading the encoder " + folder);
  }
}

std::size_t Encoder::dim() const noexcept { return impl_->head->dim(); }
std::size_t Encoder::token_dim() const noexcept { return impl_->config.trunk.hidden_size; }
std::size_t Encoder::max_tokens() const noexcept { return impl_->config.max_tokens; }
std::size_t Encoder::max_text_tokens(TextKind kind) const noexcept {
  const std::size_t taken =
      kind == TextKind::kQuery ? impl_->query_prompt_tokens : impl_->document_prompt_tokens;
  return max_tokens() - std::min(taken, max_tokens());
}
const Tokenizer& Encoder::tokenizer() const noexcept { return *impl_->tokenizer; }
const std::string& Encoder::digest() const noexcept { return impl_->digest; }
const std::string& Encoder::folder() const noexcept { return impl_->folder; }
const std::vector<std::string>& Encoder::files() const noexcept { return impl_->config.files; }
double Encoder::flops(std::size_t tokens) const noexcept { return impl_->trunk->flops(tokens); }

Result<Encoder::Embeddings> Encoder::encode(std::span<const std::string_view> texts, TextKind kind,
                                            const ProgressCallback& progress) const {
  try {
    return impl_->encode(texts, kind, progress);
  } catch (const std::bad_alloc&) {
    return out_of_memory("encoding " + std::to_string(texts.size()) + " texts");
  } catch (const std::exception& error) {
    return Status::internal("encoding " + std::to_string(texts.size()) + " texts: " + error.what());
  }
}

Result<std::vector<float>> Encoder::token_vectors(std::string_view text, TextKind kind) const {
  try {
    return impl_->token_vectors(text, kind);
  } catch (const std::bad_alloc&) {
    return out_of_memory("encoding a text");
  }
}

}  // namespace collegium::core
