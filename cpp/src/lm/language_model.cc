#include "collegium/core/lm/language_model.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <ctime>
#include <filesystem>
#include <optional>
#include <span>
#include <system_error>
#include <utility>

#include "collegium/core/file_envelope.h"
#include "io/mapped_file.h"
#include "lm/language_model_impl.h"

namespace collegium::core {
namespace {

// Of a folder: every file that decides what the model says, by name and content.
Result<std::string> folder_digest(const std::string& folder) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    if (entry.is_regular_file() &&
        (name.ends_with(".json") || name.ends_with(".jinja") || name.ends_with(".safetensors")))
      names.push_back(name);
  }
  std::ranges::sort(names);
  Digest digest;
  for (const std::string& name : names) {
    if (std::filesystem::file_size(folder + "/" + name) == 0) continue;
    COLLEGIUM_ASSIGN_OR_RETURN(const auto file, MappedFile::open(folder + "/" + name));
    const std::array<std::uint64_t, 2> sizes = {name.size(), file.bytes().size()};
    digest.update(std::as_bytes(std::span(sizes)));
    digest.update(std::as_bytes(std::span(name)));
    digest.update(file.bytes());
  }
  return digest.hex();
}

// Of this machine's clock and time zone.
std::chrono::year_month_day today() {
  const std::time_t now = std::time(nullptr);
  std::tm local{};
  localtime_r(&now, &local);
  return {std::chrono::year(local.tm_year + 1900),
          std::chrono::month(static_cast<unsigned>(local.tm_mon + 1)),
          std::chrono::day(static_cast<unsigned>(local.tm_mday))};
}

Result<std::unique_ptr<LanguageModelImpl>> finish(std::string path, std::optional<GgufFile> file,
                                                  Decoder model, LmTokenizer tokenizer,
                                                  std::string digest) {
  if (tokenizer.vocab_size() != model.config().vocab)
    return Status::corruption(path + ": the tokenizer has " +
                              std::to_string(tokenizer.vocab_size()) + " tokens, the model " +
                              std::to_string(model.config().vocab));
  const ChatTemplate chat_template = recognise_chat_template(tokenizer.chat_template());
  auto shared = std::make_shared<const LmTokenizer>(std::move(tokenizer));
  return std::make_unique<LanguageModelImpl>(LanguageModelImpl{std::move(path), std::move(file),
                                                               std::move(model), std::move(shared),
                                                               chat_template, std::move(digest)});
}

Result<std::unique_ptr<LanguageModelImpl>> load_gguf(const std::string& path, Isa isa) {
  COLLEGIUM_ASSIGN_OR_RETURN(auto file, GgufFile::open(path));
  COLLEGIUM_ASSIGN_OR_RETURN(auto model, read_decoder_gguf(file, isa));
  COLLEGIUM_ASSIGN_OR_RETURN(auto tokenizer, read_lm_tokenizer(file));
  std::string digest = digest_hex(file.bytes());
  return finish(path, std::move(file), std::move(model), std::move(tokenizer), std::move(digest));
}

Result<std::unique_ptr<LanguageModelImpl>> load_folder(const std::string& path, Isa isa) {
  COLLEGIUM_ASSIGN_OR_RETURN(auto model, read_decoder_hf(path, isa));
  COLLEGIUM_ASSIGN_OR_RETURN(auto tokenizer, read_lm_tokenizer(path, model.config().vocab));
  COLLEGIUM_ASSIGN_OR_RETURN(auto digest, folder_digest(path));
  return finish(path, {}, std::move(model), std::move(tokenizer), std::move(digest));
}

// The value of an option by its name.
template <typename T>
Result<T> parse_named(std::string_view option, std::string_view name,
                      std::initializer_list<T> values, std::string_view (*name_of)(T) noexcept) {
  std::string expected;
  std::size_t left = values.size();
  for (const T value : values) {
    if (name == name_of(value)) return value;
    expected += '"' + std::string(name_of(value)) + '"';
    if (--left != 0) expected += left == 1 ? " or " : ", ";
  }
  return Status::invalid_argument(std::string(option) + " is \"" + std::string(name) +
                                  "\", expected " + expected);
}

// What is for kFast alone, and does not go together.
Status check_options(const LanguageModelOptions& options) {
  const std::string weights = "weights: \"" + std::string(lm_weights_name(options.weights)) + "\" ";
  const std::string instead =
      "is for compute \"fast\", not \"" + std::string(lm_compute_name(options.compute)) + "\"";
  const bool fast = options.compute == LmCompute::kFast;
  const bool made = options.weights != LmWeights::kStored;
  if (made && !fast) return Status::invalid_argument(weights + instead);
  if (options.packed.empty()) return {};
  if (!fast) return Status::invalid_argument("packed: " + options.packed + " " + instead);
  if (made)
    return Status::invalid_argument(weights + "does not go with packed, " + options.packed +
                                    ", which has the weights it was saved with");
  return {};
}

}  // namespace

LanguageModel::LanguageModel(std::unique_ptr<LanguageModelImpl> impl) : impl_(std::move(impl)) {}
LanguageModel::~LanguageModel() = default;

std::string_view lm_compute_name(LmCompute compute) noexcept {
  return compute == LmCompute::kFast ? "fast" : "exact";
}

Result<LmCompute> parse_lm_compute(std::string_view name) {
  return parse_named("compute", name, {LmCompute::kExact, LmCompute::kFast}, lm_compute_name);
}

std::string_view lm_weights_name(LmWeights weights) noexcept {
  switch (weights) {
    case LmWeights::kStored:
      return "stored";
    case LmWeights::kInt8:
      return "int8";
    case LmWeights::kInt4:
      return "int4";
  }
  return "unknown";
}

Result<LmWeights> parse_lm_weights(std::string_view name) {
  return parse_named("weights", name, {LmWeights::kStored, LmWeights::kInt8, LmWeights::kInt4},
                     lm_weights_name);
}

std::string_view kv_cache_type_name(KvCacheType type) noexcept {
  switch (type) {
    case KvCacheType::kFp32:
      return "fp32";
    case KvCacheType::kBf16:
      return "bf16";
    case KvCacheType::kInt8:
      return "int8";
  }
  return "unknown";
}

Result<KvCacheType> parse_kv_cache_type(std::string_view name) {
  return parse_named("kv_cache", name, {KvCacheType::kFp32, KvCacheType::kBf16, KvCacheType::kInt8},
                     kv_cache_type_name);
}

Result<std::shared_ptr<const LanguageModel>> LanguageModel::load(
    const std::string& path, const LanguageModelOptions& options) {
  using Loaded = Result<std::shared_ptr<const LanguageModel>>;
  const Isa isa = std::min(options.isa, machine_isa());
  return guarded(path, [&]() -> Loaded {
    COLLEGIUM_RETURN_IF_ERROR(check_options(options));
    std::error_code ignored;
    COLLEGIUM_ASSIGN_OR_RETURN(auto impl, std::filesystem::is_directory(path, ignored)
                                              ? load_folder(path, isa)
                                              : load_gguf(path, isa));
    if (!options.packed.empty()) {
      COLLEGIUM_RETURN_IF_ERROR(impl->model.use_packed(options.packed, impl->digest));
    } else if (options.compute == LmCompute::kFast) {
      impl->model.pack(options.weights);
    }
    impl->kv_cache = options.kv_cache;
    return std::shared_ptr<const LanguageModel>(new LanguageModel(std::move(impl)));
  });
}

const Tokenizer& LanguageModel::tokenizer() const noexcept { return impl_->tokenizer->tokenizer(); }
std::size_t LanguageModel::context_length() const noexcept { return impl_->model.config().context; }
const std::string& LanguageModel::digest() const noexcept { return impl_->digest; }
LmCompute LanguageModel::compute() const noexcept {
  return packed_bytes() != 0 ? LmCompute::kFast : LmCompute::kExact;
}
KvCacheType LanguageModel::kv_cache() const noexcept { return impl_->kv_cache; }
std::size_t LanguageModel::packed_bytes() const noexcept {
  return impl_->model.weights().packed_bytes;
}

Status LanguageModel::save_packed(const std::string& path) const {
  if (compute() != LmCompute::kFast)
    return Status::failed_precondition(impl_->path +
                                       ": computes \"exact\" and has no packed weights");
  return guarded(path,
                 [&] { return write_packed_model(path, impl_->digest, impl_->model.weights()); });
}

std::string LanguageModel::without_control_tokens(std::string_view text) const {
  return impl_->tokenizer->without_control_tokens(text);
}

Result<std::string> LanguageModel::apply_chat_template(std::span<const ChatMessage> messages,
                                                       bool enable_thinking) const {
  const LmTokenizer& tokenizer = *impl_->tokenizer;
  if (impl_->chat_template == ChatTemplate::kNone)
    return Status::failed_precondition(impl_->path +
                                       ": has no chat template; give generate() a whole prompt");
  if (impl_->chat_template == ChatTemplate::kUnknown)
    return Status::not_supported(impl_->path + ": its chat template (XXH3-128 " +
                                 digest_hex(std::as_bytes(std::span(tokenizer.chat_template()))) +
                                 ") is not one of those known here (" +
                                 std::string(kKnownChatTemplates) +
                                 "); give generate() a whole prompt");
  return guarded("apply_chat_template", [&]() -> Result<std::string> {
    return core::apply_chat_template(
        impl_->chat_template, messages,
        {tokenizer.bos_token(), tokenizer.eos_token(), today(), enable_thinking});
  });
}

Result<std::vector<float>> LanguageModel::logits(std::span<const std::int32_t> ids,
                                                 const ProgressCallback& progress) const {
  const DecoderConfig& config = impl_->model.config();
  if (ids.empty()) return Status::invalid_argument("ids: there is none");
  if (ids.size() > config.context)
    return Status::invalid_argument("ids: " + std::to_string(ids.size()) +
                                    " tokens do not fit the context of " +
                                    std::to_string(config.context));
  for (std::size_t i = 0; i < ids.size(); ++i)
    if (ids[i] < 0 || static_cast<std::size_t>(ids[i]) >= config.vocab)
      return Status::invalid_argument("ids[" + std::to_string(i) + "]: " + std::to_string(ids[i]) +
                                      " is outside the vocabulary of " +
                                      std::to_string(config.vocab));
  return guarded("logits", [&]() -> Result<std::vector<float>> {
    KvCache cache = impl_->new_cache();
    std::vector<float> hidden(std::min(ids.size(), impl_->prompt_step()) * config.width);
    std::vector<float> logits(ids.size() * config.vocab);
    for (std::size_t begin = 0, rows = 0; begin < ids.size(); begin += rows) {
      if (!report(progress, "prompt", begin, ids.size()))
        return Status::cancelled("reading stopped after " + std::to_string(begin) + " of " +
                                 std::to_string(ids.size()) + " tokens");
      rows = std::min(impl_->prompt_step(), ids.size() - begin);
      COLLEGIUM_RETURN_IF_ERROR(
          impl_->model.forward(ids.subspan(begin, rows), cache, hidden.data()));
      impl_->model.logits(hidden.data(), rows, logits.data() + begin * config.vocab);
    }
    return logits;
  });
}

}  // namespace collegium::core
