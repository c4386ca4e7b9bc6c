#include <algorithm>
#include <cmath>
#include <numeric>

#include "collegium/core/thread_pool.h"
#include "experts/encoder_impl.h"
#include "io/in_quotes.h"
#include "kernels/flush_denormals.h"

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

}  // namespace

Result<Encoding> Encoder::Impl::tokenize(std::string_view text, TextKind kind) const {
  const EncodeOptions options{.add_special_tokens = true, .max_tokens = config.max_tokens};
  const std::string& before = prompt(kind);
  // The bytes of the text alone are checked first, so that a message's offset is the caller's.
  if (!before.empty()) COLLEGIUM_RETURN_IF_ERROR(check_utf8(text, "text"));
  auto encoding = before.empty() ? tokenizer->encode(text, options)
                                 : tokenizer->encode(before + std::string(text), options);
  if (encoding.ok() && encoding->ids.empty()) {
    return Status::invalid_argument("text: has no token, and this model's tokenizer adds none");
  }
  return encoding;
}

void Encoder::Impl::embed_batch(std::span<const Tokens> tokens,
                                std::span<const std::size_t> members, const Plan& plan,
                                std::size_t begin, bool parallel, float* out) const {
  const std::size_t dim = head->dim();
  const std::size_t hidden = config.trunk.hidden_size;
  const std::size_t stride = plan.vectors_per_text();
  PackedSequences sequences;
  for (std::size_t i : members) {
    const auto& ids = tokens[i].encoding.ids;
    sequences.ids.insert(sequences.ids.end(), ids.begin(), ids.end());
    sequences.starts.push_back(sequences.ids.size());
    if (!plan.own.empty()) sequences.loras.push_back(plan.own[begin + i]);
  }
  const auto pool = [&](const TrunkScratch& activations, std::size_t expert) {
    for (std::size_t s = 0; s < sequences.size(); ++s) {
      const std::size_t start = sequences.starts[s];
      head->apply(activations.hidden.data() + start * hidden, plan.first_pooled,
                  sequences.starts[s + 1] - start, out + (members[s] * stride + expert) * dim);
    }
  };
  auto shared = scratch.take();
  trunk->begin(sequences, *shared);
  if (plan.under.empty()) {
    trunk->run(sequences, 0, trunk->num_layers(), parallel, *shared);
    trunk->finish(sequences, *shared);
    pool(*shared, 0);
    scratch.give_back(std::move(shared));
    return;
  }
  // The plain trunk goes as far as the next expert's first layer; there the expert turns off.
  const auto first_layer = [&](std::size_t expert) {
    return plan.under[expert] == nullptr ? trunk->num_layers() : plan.under[expert]->first_layer;
  };
  std::vector<std::size_t> order(plan.under.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return first_layer(a) < first_layer(b); });
  auto own = scratch.take();
  std::size_t done = 0;
  bool finished = false;
  for (std::size_t expert : order) {
    const std::size_t first = first_layer(expert);
    trunk->run(sequences, done, first, parallel, *shared);
    done = first;
    if (first == trunk->num_layers()) {
      if (!finished) trunk->finish(sequences, *shared);
      finished = true;
      pool(*shared, expert);
      continue;
    }
    const std::size_t count = sequences.ids.size() * hidden;
    grow(own->hidden, count);
    std::copy_n(shared->hidden.data(), count, own->hidden.data());
    sequences.loras.assign(sequences.size(), plan.under[expert]);
    trunk->run(sequences, first, trunk->num_layers(), parallel, *own);
    trunk->finish(sequences, *own);
    pool(*own, expert);
    sequences.loras.clear();
  }
  scratch.give_back(std::move(own));
  scratch.give_back(std::move(shared));
}

// The tokens go into micro-batches; enough of those for the threads, and each thread runs its own;
// else all threads share each product.
void Encoder::Impl::embed(std::span<const Tokens> tokens, const Plan& plan, std::size_t begin,
                          float* out) const {
  const FlushDenormals flush;
  std::vector<std::size_t> order(tokens.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  if (!plan.own.empty()) {  // texts under the same expert next to one another
    std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
      return std::less<>()(plan.own[begin + a], plan.own[begin + b]);
    });
  }
  std::vector<std::size_t> begins;  // the first place of each micro-batch
  std::size_t filled = 0;
  for (std::size_t i = 0; i < order.size(); ++i) {
    const std::size_t length = tokens[order[i]].encoding.ids.size();
    if (begins.empty() || filled + length > kBatchTokens) {
      begins.push_back(i);
      filled = 0;
    }
    filled += length;
  }
  begins.push_back(order.size());
  const std::size_t batches = begins.size() - 1;
  const auto run = [&](std::size_t b, bool parallel) {
    embed_batch(tokens, std::span(order).subspan(begins[b], begins[b + 1] - begins[b]), plan, begin,
                parallel, out);
  };
  ThreadPool& threads = default_pool();
  if (batches >= threads.num_threads()) {
    threads.parallel_for(batches, [&](std::size_t b) { run(b, false); });
  } else {
    for (std::size_t b = 0; b < batches; ++b) run(b, true);
  }
}

Result<Encoder::Embeddings> Encoder::Impl::encode(std::span<const std::string_view> texts,
                                                  TextKind kind, const Plan& plan,
                                                  const ProgressCallback& progress) const {
  // Numbers of one text.
  const std::size_t width = plan.vectors_per_text() * head->dim();
  ThreadPool& threads = default_pool();
  const std::size_t round_bytes = kRoundTokens * kBytesPerToken * threads.num_threads();
  Embeddings result;
  result.vectors.resize(texts.size() * width);
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
      COLLEGIUM_RETURN_IF_ERROR(round[i].status.with_context("text " + std::to_string(begin + i)));
      if (round[i].encoding.ids.size() <= plan.first_pooled) {
        return Status::invalid_argument(
            "text " + std::to_string(begin + i) + ": has no token behind the prompt " +
            in_quotes(prompt(kind)) + ", which is not pooled here (include_prompt is false)");
      }
      result.num_tokens.push_back(round[i].encoding.ids.size());
      result.truncated.push_back(round[i].encoding.truncated);
    }
    float* vectors = result.vectors.data() + begin * width;
    embed(round, plan, begin, vectors);
    for (std::size_t i = 0; i < round.size() * width; ++i) {
      if (!std::isfinite(vectors[i])) {
        return Status::corruption(folder + ": the weights overflow on text " +
                                  std::to_string(begin + i / width) + ": its vector is not finite");
      }
    }
    begin = end;
  }
  if (!texts.empty() && !report(progress, "encode", texts.size(), texts.size())) {
    return Status::cancelled("encoding stopped after its last text");
  }
  return result;
}

Result<std::vector<float>> Encoder::Impl::token_vectors(std::string_view text,
                                                        TextKind kind) const {
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

}  // namespace collegium::core
