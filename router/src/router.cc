#include "collegium/router/router.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <utility>

#include "routers/kinds.h"

namespace collegium::router {
namespace {

constexpr std::array<std::string_view, 8> kKinds = {"linear",        "mlp",      "pilots-source",
                                                    "pilots-winner", "nearest",  "utterances",
                                                    "two-step",      "gaussians"};
constexpr core::FileKind kRouterWithEncoder{"routerx", 1};

bool known_kind(std::string_view kind) {
  return std::find(kKinds.begin(), kKinds.end(), kind) != kKinds.end();
}

Status check_query(const Router& router, std::span<const float> query) {
  if (query.size() != router.dim())
    return Status::invalid_argument("router: query of dim " + std::to_string(query.size()) +
                                    ", the router has " + std::to_string(router.dim()));
  for (std::size_t d = 0; d < query.size(); ++d)
    if (!std::isfinite(query[d]))
      return Status::invalid_argument("router: query[" + std::to_string(d) + "] is not finite");
  return Status();
}

// Positions by probability descending, then position.
std::vector<std::size_t> order_of(const std::vector<float>& probabilities) {
  std::vector<std::size_t> order(probabilities.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return probabilities[a] > probabilities[b];
  });
  return order;
}

}  // namespace

Result<Route> Router::route(std::span<const float> query) const {
  COLLEGIUM_RETURN_IF_ERROR(check_query(*this, query));
  const std::vector<std::string>& names = collections();
  std::vector<float> found(names.size());
  probabilities(query.data(), found);
  Route route;
  route.router = std::string(kind());
  route.policy = "routed";
  route.familiarity = double{familiarity(query.data())};
  const auto order = order_of(found);
  route.entries.reserve(order.size());
  for (std::size_t c : order) {
    RouteEntry entry;
    entry.collection = entry.expert = names[c];
    entry.probability = double{found[c]};
    route.entries.push_back(std::move(entry));
  }
  route.margin = order.size() > 1 ? double{found[order[0]]} - double{found[order[1]]} : 1.0;
  route.reason = names[order[0]] + " is the likeliest";
  return route;
}

Result<std::vector<RouterReason>> Router::explain(std::span<const float> query) const {
  COLLEGIUM_RETURN_IF_ERROR(check_query(*this, query));
  std::vector<float> found(collections().size());
  probabilities(query.data(), found);
  std::vector<RouterReason> reasons;
  for (std::size_t c : order_of(found))
    reasons.push_back(
        {collections()[c], std::log(std::max(double{found[c]}, 1e-300)), double{found[c]}, ""});
  return reasons;
}

Result<std::shared_ptr<const Router>> Router::add_expert(std::string_view,
                                                         std::span<const float>) const {
  return Status::not_supported("router '" + std::string(kind()) +
                               "' learns all collections together: fit it anew to add one");
}

Result<std::shared_ptr<const Router>> Router::remove_expert(std::string_view) const {
  return Status::not_supported("router '" + std::string(kind()) +
                               "' learns all collections together: fit it anew to remove one");
}

std::span<const std::string_view> router_kinds() noexcept { return kKinds; }

Status RouterOptions::validate() const {
  const auto bad = [](const char* name, double seen, const char* allowed) {
    return Status::invalid_argument(std::string("RouterOptions.") + name + " is " +
                                    std::to_string(seen) + ", must be in " + allowed);
  };
  if (!(l2 > 0.0 && l2 <= 1e6)) return bad("l2", l2, "(0, 1e6]");
  if (!(label_smoothing >= 0.0 && label_smoothing < 1.0))
    return bad("label_smoothing", label_smoothing, "[0, 1)");
  if (hidden == 0 || hidden > 4096) return bad("hidden", static_cast<double>(hidden), "[1, 4096]");
  if (epochs == 0 || epochs > 10000)
    return bad("epochs", static_cast<double>(epochs), "[1, 10000]");
  if (top_k == 0 || top_k > 1'000'000)
    return bad("top_k", static_cast<double>(top_k), "[1, 1000000]");
  if (max_pilots == 0) return bad("max_pilots", 0.0, "[1, inf)");
  for (double cost : costs)
    if (!(cost >= 0.0 && cost <= 1e12)) return bad("costs", cost, "[0, 1e12]");
  if (!(budget >= 0.0 && budget <= 1e12)) return bad("budget", budget, "[0, 1e12]");
  return Status();
}

Result<std::shared_ptr<const Router>> fit_router(std::string_view kind, const RouterExamples& train,
                                                 const RouterExamples& dev,
                                                 const RouterOptions& options) {
  if (!known_kind(kind)) {
    std::string known;
    for (std::string_view name : kKinds)
      known += (known.empty() ? "'" : ", '") + std::string(name) + "'";
    return Status::invalid_argument("router kind '" + std::string(kind) + "', must be one of " +
                                    known);
  }
  COLLEGIUM_RETURN_IF_ERROR(check_examples(train, dev));
  COLLEGIUM_RETURN_IF_ERROR(options.validate());
  if (kind == "linear") return fit_linear(train, dev, options);
  if (kind == "mlp") return fit_mlp(train, dev, options);
  if (kind == "two-step") return fit_two_step(train, dev, options);
  if (kind == "gaussians") return fit_gaussians(train, dev, options);
  const bool mean = options.aggregate == RouterOptions::Aggregate::kMean &&
                    options.centroids == 0 && !options.cosine;
  if (kind.starts_with("pilots") && mean) return fit_mean_pilots(kind, train, dev);
  return fit_pilots(kind, train, dev, options);
}

Result<std::shared_ptr<const Router>> deserialize_router(std::span<const std::byte> bytes) {
  PayloadReader in("router", bytes);
  RouterParts parts;
  parts.kind = in.text(64);
  parts.dim = in.number<std::uint32_t>();
  const std::size_t collections = in.number<std::uint32_t>();
  if (!in.ok()) return in.finish();
  if (parts.dim == 0 || parts.dim > 65536 || collections == 0 || collections > kMaxCollections)
    return Status::corruption("router: dim " + std::to_string(parts.dim) + " and " +
                              std::to_string(collections) + " collections");
  if (!known_kind(parts.kind))
    return Status::not_supported("router: kind '" + parts.kind + "' is not known to this build");
  for (std::size_t c = 0; c < collections && in.ok(); ++c) parts.collections.push_back(in.text());
  if (parts.kind == "mlp") return read_mlp(std::move(parts), in);
  if (parts.kind == "two-step") return read_two_step(std::move(parts), in);
  if (parts.kind == "gaussians") return read_gaussians(std::move(parts), in);
  const bool kept = in.number<std::uint8_t>() != 0;  // pilots one by one
  return kept ? read_prototypes(std::move(parts), in) : read_affine(std::move(parts), in);
}

Status save_router(const Router& router, const std::string& path, std::string_view encoder_digest) {
  PayloadWriter out;
  out.text(encoder_digest);
  const std::vector<std::byte> payload = router.serialize();
  out.numbers<std::byte>(payload);
  return core::write_file_envelope(path, kRouterWithEncoder, out.take());
}

Result<std::shared_ptr<const Router>> load_router(const std::string& path,
                                                  std::string_view encoder_digest) {
  COLLEGIUM_ASSIGN_OR_RETURN(const auto file, core::read_file_envelope(path, kRouterWithEncoder));
  PayloadReader in("router", file.payload);
  const std::string made_with = in.text(256);
  if (!in.ok()) return in.finish();
  if (made_with != encoder_digest)
    return Status::failed_precondition(path + " is a router over vectors of the encoder " +
                                       made_with + ", this one is " + std::string(encoder_digest));
  const std::span<const std::byte> payload(file.payload);
  auto router = deserialize_router(payload.subspan(sizeof(std::uint32_t) + made_with.size()));
  if (!router.ok()) return router.status().with_context(path);
  return router;
}

}  // namespace collegium::router
