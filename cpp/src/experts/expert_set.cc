#include "collegium/core/experts/expert_set.h"

#include <algorithm>
#include <exception>
#include <map>
#include <mutex>
#include <new>
#include <utility>

#include "io/in_quotes.h"

namespace collegium::core {
namespace {

// One of the three; all empty is the plain encoder.
struct Expert {
  std::shared_ptr<const LoraAdapter> lora;
  std::shared_ptr<const HeadAdapter> head;
  std::shared_ptr<const Encoder> encoder;
};

using Experts = std::map<std::string, Expert, std::less<>>;

Status check_dim(const std::string& name, std::size_t dim, std::size_t wanted) {
  if (dim == wanted) return {};
  return Status::invalid_argument("expert " + in_quotes(name) + " has dim " + std::to_string(dim) +
                                  ", the shared encoder " + std::to_string(wanted));
}

}  // namespace

struct ExpertSet::Impl {
  std::shared_ptr<const Encoder> encoder;
  mutable std::mutex mutex;
  std::shared_ptr<const Experts> experts =
      std::make_shared<const Experts>();  // replaced, never changed

  std::shared_ptr<const Experts> now() const {
    const std::lock_guard lock(mutex);
    return experts;
  }

  template <typename Change>
  Status change(const Change& f) {
    const std::lock_guard lock(mutex);
    auto next = std::make_shared<Experts>(*experts);
    COLLEGIUM_RETURN_IF_ERROR(f(*next));
    experts = std::move(next);
    return {};
  }

  Status set(const std::string& name, Expert expert) {
    if (name.empty()) {
      return Status::invalid_argument("expert: the name '' is the plain encoder's");
    }
    return change([&](Experts& next) {
      next.insert_or_assign(name, std::move(expert));
      return Status();
    });
  }
};

namespace {

// The expert of each name.
Result<std::vector<const Expert*>> find(const Experts& experts,
                                        std::span<const std::string> names) {
  static const Expert plain;
  std::vector<const Expert*> found;
  found.reserve(names.size());
  for (const std::string& name : names) {
    const auto at = experts.find(name);
    if (!name.empty() && at == experts.end()) {
      std::string known;
      for (const auto& [other, expert] : experts) {
        known += (known.empty() ? "" : ", ") + in_quotes(other);
      }
      return Status::not_found("no expert " + in_quotes(name) + "; there are " +
                               (known.empty() ? "none" : known));
    }
    found.push_back(name.empty() ? &plain : &at->second);
  }
  return found;
}

// Head adapters of the experts, row by row in place.
void apply_head(const Expert& expert, std::size_t dim, float* row) {
  if (expert.head == nullptr) return;
  std::vector<float> out(dim);
  expert.head->apply(row, out.data());
  std::copy(out.begin(), out.end(), row);
}

}  // namespace

ExpertSet::ExpertSet(std::shared_ptr<const Encoder> encoder) : impl_(std::make_unique<Impl>()) {
  impl_->encoder = std::move(encoder);
}
ExpertSet::~ExpertSet() = default;

const Encoder& ExpertSet::encoder() const noexcept { return *impl_->encoder; }

std::vector<std::string> ExpertSet::names() const {
  std::vector<std::string> list;
  for (const auto& [name, expert] : *impl_->now()) list.push_back(name);
  return list;
}

Status ExpertSet::set_lora(const std::string& name, std::shared_ptr<const LoraAdapter> lora) {
  if (lora->encoder_digest() != impl_->encoder->digest()) {
    return Status::invalid_argument("expert " + in_quotes(name) + " is a LoRA for the encoder " +
                                    lora->encoder_digest() + ", the shared one is " +
                                    impl_->encoder->digest());
  }
  return impl_->set(name, {std::move(lora), nullptr, nullptr});
}

Status ExpertSet::set_head(const std::string& name, HeadAdapter head) {
  COLLEGIUM_RETURN_IF_ERROR(check_dim(name, head.dim(), impl_->encoder->dim()));
  return impl_->set(name, {nullptr, std::make_shared<const HeadAdapter>(std::move(head)), nullptr});
}

Status ExpertSet::set_encoder(const std::string& name, std::shared_ptr<const Encoder> encoder) {
  COLLEGIUM_RETURN_IF_ERROR(check_dim(name, encoder->dim(), impl_->encoder->dim()));
  return impl_->set(name, {nullptr, nullptr, std::move(encoder)});
}

Status ExpertSet::remove(const std::string& name) {
  return impl_->change([&](Experts& next) {
    if (next.erase(name) != 0) return Status();
    return Status::not_found("no expert " + in_quotes(name));
  });
}

Result<Encoder::Embeddings> ExpertSet::encode(std::span<const std::string_view> texts,
                                              std::span<const std::string> experts, TextKind kind,
                                              const ProgressCallback& progress) const {
  try {
    return encode_by(texts, experts, kind, progress);
  } catch (const std::bad_alloc&) {
    return Status::resource_exhausted("encoding " + std::to_string(texts.size()) +
                                      " texts: out of memory");
  }
}

Result<Encoder::Embeddings> ExpertSet::encode_under(std::span<const std::string_view> texts,
                                                    std::span<const std::string> experts,
                                                    TextKind kind,
                                                    const ProgressCallback& progress) const {
  try {
    return encode_all_under(texts, experts, kind, progress);
  } catch (const std::exception&) {  // bad_alloc, or length_error for more than there can be
    return Status::resource_exhausted("encoding " + std::to_string(texts.size()) + " texts under " +
                                      std::to_string(experts.size()) + " experts: out of memory");
  }
}

Result<Encoder::Embeddings> ExpertSet::encode_by(std::span<const std::string_view> texts,
                                                 std::span<const std::string> experts,
                                                 TextKind kind,
                                                 const ProgressCallback& progress) const {
  if (experts.size() != texts.size()) {
    return Status::invalid_argument("experts: " + std::to_string(experts.size()) + " for " +
                                    std::to_string(texts.size()) + " texts, wants one a text");
  }
  // Here, so that a message has the caller's number of the text.
  for (std::size_t i = 0; i < texts.size(); ++i) {
    COLLEGIUM_RETURN_IF_ERROR(
        check_utf8(texts[i], "text").with_context("text " + std::to_string(i)));
  }
  const auto set = impl_->now();
  COLLEGIUM_ASSIGN_OR_RETURN(const auto found, find(*set, experts));
  const std::size_t dim = impl_->encoder->dim();

  // The texts of each encoder in one call.
  std::map<const Encoder*, std::vector<std::size_t>> members;
  for (std::size_t i = 0; i < texts.size(); ++i) {
    const auto& own = found[i]->encoder;
    members[own == nullptr ? impl_->encoder.get() : own.get()].push_back(i);
  }
  Encoder::Embeddings result;
  result.vectors.resize(texts.size() * dim);
  result.num_tokens.resize(texts.size());
  result.truncated.resize(texts.size());
  std::uint64_t done = 0;
  for (const auto& [encoder, rows] : members) {
    std::vector<std::string_view> part;
    Encoder::Loras loras;
    for (std::size_t i : rows) {
      part.push_back(texts[i]);
      loras.push_back(found[i]->lora);
    }
    const auto all = [&](const Progress& p) {
      return report(progress, p.stage, done + p.done, texts.size());
    };
    COLLEGIUM_ASSIGN_OR_RETURN(
        const auto embeddings,
        encoder->encode(part, kind, loras, progress ? ProgressCallback(all) : nullptr));
    done += rows.size();
    for (std::size_t r = 0; r < rows.size(); ++r) {
      float* row = result.vectors.data() + rows[r] * dim;
      std::copy_n(embeddings.vectors.data() + r * dim, dim, row);
      apply_head(*found[rows[r]], dim, row);
      result.num_tokens[rows[r]] = embeddings.num_tokens[r];
      result.truncated[rows[r]] = embeddings.truncated[r];
    }
  }
  return result;
}

Result<Encoder::Embeddings> ExpertSet::encode_all_under(std::span<const std::string_view> texts,
                                                        std::span<const std::string> experts,
                                                        TextKind kind,
                                                        const ProgressCallback& progress) const {
  if (experts.empty()) return Status::invalid_argument("experts is empty, wants at least one");
  const auto set = impl_->now();
  COLLEGIUM_ASSIGN_OR_RETURN(const auto found, find(*set, experts));
  const std::size_t dim = impl_->encoder->dim();

  // What the shared encoder has to compute: the plain vectors once, for the heads too, and each
  // LoRA's once. slot[e] is where expert e's are.
  Encoder::Loras loras;
  std::vector<std::size_t> slot(found.size(), 0);
  for (std::size_t e = 0; e < found.size(); ++e) {
    if (found[e]->encoder != nullptr) continue;
    const auto at = std::find(loras.begin(), loras.end(), found[e]->lora);
    slot[e] = static_cast<std::size_t>(at - loras.begin());
    if (at == loras.end()) loras.push_back(found[e]->lora);
  }
  // Token counts are the shared encoder's, so it runs in any case.
  if (loras.empty()) loras.emplace_back();
  COLLEGIUM_ASSIGN_OR_RETURN(auto shared,
                             impl_->encoder->encode_under(texts, kind, loras, progress));
  std::map<const Encoder*, std::vector<float>> whole;
  for (const Expert* expert : found) {
    if (expert->encoder == nullptr || whole.count(expert->encoder.get()) != 0) continue;
    COLLEGIUM_ASSIGN_OR_RETURN(auto embeddings, expert->encoder->encode(texts, kind, progress));
    whole.emplace(expert->encoder.get(), std::move(embeddings.vectors));
  }
  Encoder::Embeddings result;
  result.num_tokens = std::move(shared.num_tokens);
  result.truncated = std::move(shared.truncated);
  result.vectors.resize(texts.size() * found.size() * dim);
  for (std::size_t i = 0; i < texts.size(); ++i) {
    for (std::size_t e = 0; e < found.size(); ++e) {
      const Expert& expert = *found[e];
      const float* from = expert.encoder != nullptr
                              ? whole.at(expert.encoder.get()).data() + i * dim
                              : shared.vectors.data() + (i * loras.size() + slot[e]) * dim;
      float* row = result.vectors.data() + (i * found.size() + e) * dim;
      std::copy_n(from, dim, row);
      apply_head(expert, dim, row);
    }
  }
  return result;
}

}  // namespace collegium::core
