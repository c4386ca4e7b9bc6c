#include "collegium/core/experts/encoder.h"

#include <algorithm>
#include <array>
#include <exception>
#include <filesystem>
#include <new>
#include <utility>

#include "collegium/core/safetensors.h"
#include "experts/digest.h"
#include "experts/encoder_impl.h"
#include "experts/lora_adapter_impl.h"
#include "io/in_quotes.h"
#include "kernels/kernels.h"

namespace collegium::core {
namespace {

// In the order of Compute.
constexpr std::array<std::string_view, 4> kComputeNames = {"auto", "fp32", "int8", "bf16"};

constexpr std::string_view kWeightsName = "model.safetensors";
constexpr std::string_view kIndexName = "model.safetensors.index.json";
constexpr std::string_view kPackedName = "model.packed";

// Everything beside weights and tokenizer that a vector depends on.
void add_config(const EncoderConfig& config, ModelDigest& digest) {
  const TrunkConfig& trunk = config.trunk;
  digest.add("collegium encoder 2");
  for (std::size_t number :
       {static_cast<std::size_t>(trunk.architecture), trunk.vocab_size, trunk.hidden_size,
        trunk.num_layers, trunk.num_heads, trunk.intermediate_size, trunk.max_positions,
        trunk.type_vocab_size, static_cast<std::size_t>(trunk.activation), trunk.first_position,
        trunk.relative_buckets, config.max_tokens, config.output_dim(), config.pooling.size(),
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
  if (!config.include_prompt) digest.add("prompt not pooled");
}

// What the folder asks of its tokenizer, and what the trunk takes for granted.
Status check_tokenizer(const Tokenizer& tokenizer, const EncoderConfig& config,
                       const std::string& path) {
  const auto ids = [&](std::string_view text) { return tokenizer.encode(text, {}); };
  COLLEGIUM_ASSIGN_OR_RETURN(const Encoding one, ids("a"));
  for (std::int32_t type : one.type_ids) {
    if (type == 0) continue;
    return Status::not_supported(path + ": gives a single text the segment " +
                                 std::to_string(type) + "; here only 0 is run");
  }
  if (!config.lower_case) return {};
  COLLEGIUM_ASSIGN_OR_RETURN(const Encoding small, ids("a b c d e f g h i j k l m n o p q r s t"));
  COLLEGIUM_ASSIGN_OR_RETURN(const Encoding large, ids("A B C D E F G H I J K L M N O P Q R S T"));
  if (small.ids == large.ids) return {};
  return Status::not_supported(
      path + ": keeps capitals, but do_lower_case of sentence_bert_config.json is true");
}

WeightType weight_type(Compute compute) {
  if (compute == Compute::kInt8) return WeightType::kInt8;
  return compute == Compute::kBf16 ? WeightType::kBf16 : WeightType::kFp32;
}

Compute compute_of(WeightType type) {
  if (type == WeightType::kInt8) return Compute::kInt8;
  return type == WeightType::kBf16 ? Compute::kBf16 : Compute::kFp32;
}

Status out_of_memory(const std::string& what) {
  return Status::resource_exhausted(what + ": out of memory");
}

}  // namespace

std::string_view compute_name(Compute compute) noexcept {
  const auto position = static_cast<std::size_t>(compute);
  return position < kComputeNames.size() ? kComputeNames[position] : "unknown";
}

Result<Compute> parse_compute(std::string_view name) {
  std::string allowed;
  for (std::size_t i = 0; i < kComputeNames.size(); ++i) {
    if (name == kComputeNames[i]) return static_cast<Compute>(i);
    allowed += (i == 0                         ? ""
                : i + 1 < kComputeNames.size() ? ", "
                                               : " or ") +
               in_quotes(kComputeNames[i]);
  }
  return Status::invalid_argument("compute is " + in_quotes(name) + ", expected " + allowed);
}

Result<std::unique_ptr<Encoder::Impl>> Encoder::Impl::load(const std::string& folder,
                                                           const EncoderOptions& options) {
  std::error_code error;
  if (!std::filesystem::is_directory(folder, error)) {
    return Status::not_found("no encoder folder " + folder);
  }
  auto impl = std::make_unique<Impl>();
  impl->folder = folder;
  impl->isa = std::min(options.isa, machine_isa());
  const Kernels& kernels = kernels_for(impl->isa);
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

  COLLEGIUM_RETURN_IF_ERROR(check_tokenizer(*impl->tokenizer, config, trunk + loaded.files[0]));

  impl->truncated_by_caller =
      options.truncate_dim != 0 && options.truncate_dim != config.truncate_dim;
  if (options.truncate_dim != 0) config.truncate_dim = options.truncate_dim;
  if (config.truncate_dim > config.dim) {
    return Status::invalid_argument("truncate_dim is " + std::to_string(config.truncate_dim) +
                                    ", must be at most the " + std::to_string(config.dim) +
                                    " dimensions of " + folder);
  }
  const TrunkConfig& trunk_config = config.trunk;
  for (std::size_t layer : options.fp32_layers) {
    if (layer < trunk_config.num_layers) continue;
    return Status::invalid_argument("fp32_layers: " + std::to_string(layer) + " is not in [0, " +
                                    std::to_string(trunk_config.num_layers) + ")");
  }
  const TrunkCompute compute = {weight_type(options.compute), options.fp32_layers};
  const std::string packed = trunk + std::string(kPackedName);
  const std::string weights = trunk + std::string(kWeightsName);
  const std::string index = trunk + std::string(kIndexName);
  const bool single = std::filesystem::exists(weights, error);
  const bool sharded = !single && std::filesystem::exists(index, error);
  if (!single && !sharded && std::filesystem::exists(packed, error)) {
    COLLEGIUM_ASSIGN_OR_RETURN(impl->trunk, Trunk::load_packed(packed, trunk_config, kernels));
    if (!options.fp32_layers.empty()) {
      return Status::invalid_argument("fp32_layers: " + packed +
                                      " is converted already; which layers are in fp32 is settled");
    }
    const Compute held = compute_of(impl->trunk->weight_type());
    if (options.compute != Compute::kAuto && options.compute != held) {
      return Status::invalid_argument("compute: " + packed + " was converted in " +
                                      std::string(compute_name(held)) +
                                      ", which is what it can be run in");
    }
    impl->weight_files.emplace_back(kPackedName);
  } else {
    if (!single && !sharded) return no_weights(tokenizer_folder);
    COLLEGIUM_ASSIGN_OR_RETURN(const SafeTensors file, sharded ? SafeTensors::open_sharded(index)
                                                               : SafeTensors::open(weights));
    COLLEGIUM_ASSIGN_OR_RETURN(
        impl->trunk, Trunk::load(file, sharded ? index : weights, trunk_config, compute, kernels));
    impl->weight_files.emplace_back(sharded ? kIndexName : kWeightsName);
    if (sharded) {
      impl->weight_files.insert(impl->weight_files.end(), file.files().begin(), file.files().end());
    }
  }
  for (std::string& file : impl->weight_files) {
    file = config.trunk_folder + file;
    config.files.push_back(file);
  }
  ModelDigest digest;
  add_config(config, digest);
  digest.add(impl->tokenizer->digest());
  digest.add(impl->trunk->digest());
  for (auto& [prompt, tokens] :
       {std::pair(&config.query_prompt, &impl->query_prompt_tokens),
        std::pair(&config.document_prompt, &impl->document_prompt_tokens)}) {
    COLLEGIUM_ASSIGN_OR_RETURN(const Encoding encoding,
                               impl->tokenizer->encode(*prompt, {.add_special_tokens = false}));
    *tokens = encoding.ids.size();
  }
  if (!config.include_prompt) {
    for (auto& [prompt, first] :
         {std::pair(&config.query_prompt, &impl->query_first_pooled),
          std::pair(&config.document_prompt, &impl->document_first_pooled)}) {
      COLLEGIUM_ASSIGN_OR_RETURN(*first, impl->count_prompt(*prompt));
    }
  }
  COLLEGIUM_ASSIGN_OR_RETURN(impl->head, EncoderHead::load(folder, config, kernels, digest));
  impl->digest = digest.hex();
  std::sort(config.files.begin(), config.files.end());
  config.files.erase(std::unique(config.files.begin(), config.files.end()), config.files.end());
  return impl;
}

Result<std::size_t> Encoder::Impl::count_prompt(const std::string& prompt) const {
  if (prompt.empty()) return std::size_t{0};
  const EncodeOptions options{.add_special_tokens = true, .max_tokens = config.max_tokens};
  COLLEGIUM_ASSIGN_OR_RETURN(const Encoding encoding, tokenizer->encode(prompt, options));
  COLLEGIUM_ASSIGN_OR_RETURN(const Encoding other, tokenizer->encode("a", options));
  // Both end with the same special token, which covers nothing of the text.
  const bool closed = !encoding.ids.empty() && !other.ids.empty() &&
                      encoding.ids.back() == other.ids.back() &&
                      encoding.offsets.back().begin == encoding.offsets.back().end;
  if (closed) return encoding.ids.size() - 1;
  return Status::not_supported(folder +
                               ": include_prompt is false, but its tokenizer puts no special token "
                               "behind a text; here only prompts of those that do are left out");
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

Status Encoder::convert(const std::string& to) const {
  namespace fs = std::filesystem;
  if (impl_->truncated_by_caller) {
    return Status::invalid_argument(
        "convert: this encoder was loaded with truncate_dim " + std::to_string(dim()) +
        ", which a folder says in config_sentence_transformers.json; load it without");
  }
  std::error_code error;
  const fs::path parent = fs::path(to).parent_path();
  if (!parent.empty()) fs::create_directories(parent, error);
  // Whoever makes the folder owns it.
  const bool made = fs::create_directory(to, error);
  if (error && !fs::exists(to)) return Status::from_errno(error.value(), to);
  if (!made) {
    return Status::already_exists(to + ": is there already; converting writes a new folder");
  }
  const auto fail = [&](Status status) {
    fs::remove_all(to, error);
    return status;
  };
  try {
    const std::string& trunk = impl_->config.trunk_folder;
    const std::vector<std::string>& weights = impl_->weight_files;
    for (const std::string& file : files()) {
      if (std::find(weights.begin(), weights.end(), file) != weights.end()) continue;
      const fs::path target = fs::path(to) / file;
      fs::create_directories(target.parent_path(), error);
      if (error) return fail(Status::from_errno(error.value(), target.parent_path().string()));
      fs::copy_file(fs::path(folder()) / file, target, error);
      if (error) return fail(Status::from_errno(error.value(), target.string()));
    }
    if (!trunk.empty()) fs::create_directories(fs::path(to) / trunk, error);
    // Last: a folder without weights is no encoder.
    Status status = impl_->trunk->save_packed(to + "/" + trunk + std::string(kPackedName));
    return status.ok() ? status : fail(std::move(status));
  } catch (const std::bad_alloc&) {
    return fail(out_of_memory("converting " + folder()));
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
Compute Encoder::compute() const noexcept { return compute_of(impl_->trunk->weight_type()); }
Isa Encoder::isa() const noexcept { return impl_->isa; }
const Tokenizer& Encoder::tokenizer() const noexcept { return *impl_->tokenizer; }
const std::string& Encoder::digest() const noexcept { return impl_->digest; }
const std::string& Encoder::folder() const noexcept { return impl_->folder; }
const std::vector<std::string>& Encoder::files() const noexcept { return impl_->config.files; }
double Encoder::flops(std::size_t tokens) const noexcept { return impl_->trunk->flops(tokens); }

Result<Encoder::Embeddings> Encoder::encode_by(std::span<const std::string_view> texts,
                                               TextKind kind, const Loras& own, const Loras& under,
                                               const ProgressCallback& progress) const {
  const std::string what = "encoding " + std::to_string(texts.size()) + " texts";
  try {
    std::vector<const TrunkLora*> bound;
    for (const auto& lora : own.empty() ? under : own) {
      if (lora != nullptr && lora->encoder_digest() != digest()) {
        return Status::invalid_argument("experts[" + std::to_string(bound.size()) +
                                        "] is a LoRA for the encoder " + lora->encoder_digest() +
                                        ", this one is " + digest());
      }
      bound.push_back(lora == nullptr ? nullptr : &lora->impl_->lora);
    }
    Impl::Plan plan;
    plan.first_pooled = impl_->first_pooled(kind);
    (own.empty() ? plan.under : plan.own) = bound;
    return impl_->encode(texts, kind, plan, progress);
  } catch (const std::bad_alloc&) {
    return out_of_memory(what);
  } catch (const std::exception& error) {
    return Status::internal(what + ": " + error.what());
  }
}

Result<Encoder::Embeddings> Encoder::encode(std::span<const std::string_view> texts, TextKind kind,
                                            const ProgressCallback& progress) const {
  return encode_by(texts, kind, {}, {}, progress);
}

Result<Encoder::Embeddings> Encoder::encode(std::span<const std::string_view> texts, TextKind kind,
                                            const Loras& loras,
                                            const ProgressCallback& progress) const {
  if (loras.size() != texts.size()) {
    return Status::invalid_argument("experts: " + std::to_string(loras.size()) + " for " +
                                    std::to_string(texts.size()) + " texts, wants one a text");
  }
  return encode_by(texts, kind, loras, {}, progress);
}

Result<Encoder::Embeddings> Encoder::encode_under(std::span<const std::string_view> texts,
                                                  TextKind kind, const Loras& loras,
                                                  const ProgressCallback& progress) const {
  if (loras.empty()) return Status::invalid_argument("experts is empty, wants at least one");
  return encode_by(texts, kind, {}, loras, progress);
}

Result<std::vector<float>> Encoder::token_vectors(std::string_view text, TextKind kind) const {
  try {
    return impl_->token_vectors(text, kind);
  } catch (const std::bad_alloc&) {
    return out_of_memory("encoding a text");
  }
}

}  // namespace collegium::core
