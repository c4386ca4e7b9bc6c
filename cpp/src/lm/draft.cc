#include "lm/draft.h"

#include <algorithm>

#include "lm/kept_beginnings.h"

namespace collegium::core {

Draft::Draft(const LanguageModelImpl& impl, const GenerateOptions& options)
    : impl_(impl), sampler_(without_penalties(options)), cache_(impl.new_cache()) {}

GenerateOptions Draft::without_penalties(GenerateOptions options) {
  options.repetition_penalty = 1.0f;
  options.presence_penalty = options.frequency_penalty = 0.0f;
  return options;
}

// logits_: of the last one.
Status Draft::read(std::span<const std::int32_t> ids) {
  const DecoderConfig& config = impl_.model.config();
  hidden_.resize(std::min(ids.size(), impl_.prompt_step()) * config.width);
  logits_.resize(config.vocab);
  for (std::size_t begin = 0, count = 0; begin < ids.size(); begin += count) {
    count = std::min(ids.size() - begin, impl_.prompt_step());
    const bool last = begin + count == ids.size();
    const Step step{.cache = &cache_, .ids = ids.subspan(begin, count), .wanted = last ? 1u : 0u};
    COLLEGIUM_RETURN_IF_ERROR(impl_.model.forward({&step, 1}, hidden_.data()));
    flops_ += impl_.model.forward_flops(cache_.length() - count, count, step.wanted);
    if (!last) continue;
    impl_.model.logits(hidden_.data() + (count - 1) * config.width, 1, logits_.data());
    flops_ += impl_.model.logits_flops(1);
  }
  seen_.insert(seen_.end(), ids.begin(), ids.end());
  return {};
}

Result<std::vector<std::int32_t>> Draft::guess(std::span<const std::int32_t> tokens,
                                               std::size_t prompt, std::size_t most) {
  const std::size_t context = impl_.model.config().context;
  most = std::min(most, context - std::min(context, tokens.size()));
  std::vector<std::int32_t> guesses;
  if (most == 0) return guesses;
  // The last token is read in any case: its logits are wanted.
  seen_.resize(common_beginning(seen_, tokens.first(tokens.size() - 1)));
  cache_.truncate(seen_.size());
  COLLEGIUM_RETURN_IF_ERROR(read(tokens.subspan(seen_.size())));
  while (true) {
    COLLEGIUM_ASSIGN_OR_RETURN(const std::int32_t id,
                               sampler_.choose(logits_, tokens.size() - prompt + guesses.size()));
    if (impl_.is_end(id)) return guesses;
    guesses.push_back(id);
    if (guesses.size() == most) return guesses;
    COLLEGIUM_RETURN_IF_ERROR(read({&guesses.back(), 1}));
  }
}

}  // namespace collegium::core
