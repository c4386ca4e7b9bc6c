#include "learning_data.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <string>
#include <string_view>
#include <unordered_map>

#include "sampling.h"

namespace collegium::router {
namespace {

constexpr const char* kSplitNames[] = {"train", "dev", "test"};

Status check_finite(std::span<const float> values, std::size_t dim, const std::string& who) {
  for (std::size_t i = 0; i < values.size(); ++i)
    if (!std::isfinite(values[i]))
      return Status::invalid_argument(who + ": vector " + std::to_string(i / dim) +
                                      " has a component that is not finite");
  return Status();
}

Status check_queries(const QuerySet& queries, std::size_t dim, std::size_t documents,
                     const std::string& who) {
  if (queries.vectors.size() != queries.size() * dim || queries.ids.size() != queries.size() ||
      queries.gains.size() != queries.size())
    return Status::invalid_argument(who + ": " + std::to_string(queries.vectors.size()) +
                                    " floats, " + std::to_string(queries.ids.size()) + " ids and " +
                                    std::to_string(queries.gains.size()) + " rows of gains for " +
                                    std::to_string(queries.size()) + " queries of dim " +
                                    std::to_string(dim));
  COLLEGIUM_RETURN_IF_ERROR(check_finite(queries.vectors, dim, who));
  for (std::size_t q = 0; q < queries.size(); ++q) {
    const std::string query = who + ", query '" + queries.ids[q] + "'";
    if (queries.relevant[q].empty() || queries.gains[q].size() != queries.relevant[q].size())
      return Status::invalid_argument(query + ": " + std::to_string(queries.relevant[q].size()) +
                                      " relevant documents with " +
                                      std::to_string(queries.gains[q].size()) + " gains");
    for (std::uint32_t document : queries.relevant[q])
      if (document >= documents)
        return Status::invalid_argument(query + ": document number " + std::to_string(document) +
                                        " of " + std::to_string(documents));
    std::vector<std::uint32_t> sorted = queries.relevant[q];
    std::sort(sorted.begin(), sorted.end());
    const auto twice = std::adjacent_find(sorted.begin(), sorted.end());
    if (twice != sorted.end())
      return Status::invalid_argument(query + ": document number " + std::to_string(*twice) +
                                      " twice");
    for (float gain : queries.gains[q])
      if (!(gain > 0.0f) || !std::isfinite(gain))
        return Status::invalid_argument(query + ": gain " + std::to_string(gain) + ", must be > 0");
  }
  return Status();
}

// What was trained on must not choose or measure.
Status check_splits(const CollectionData& collection) {
  std::unordered_map<std::string_view, std::size_t> split_of;
  for (std::size_t split = 0; split < collection.splits.size(); ++split)
    for (const std::string& id : collection.splits[split].ids) {
      const auto [at, added] = split_of.emplace(id, split);
      if (!added && at->second != split)
        return Status::invalid_argument("collection '" + collection.name + "': query '" + id +
                                        "' is in " + kSplitNames[at->second] + " and in " +
                                        kSplitNames[split]);
    }
  return Status();
}

}  // namespace

Result<PackedLibrary> pack_library(const LearningData& data) {
  if (data.dim == 0) return Status::invalid_argument("learning data: dim is 0");
  if (data.collections.empty()) return Status::invalid_argument("learning data: no collections");
  PackedLibrary library;
  for (std::size_t c = 0; c < data.collections.size(); ++c) {
    const CollectionData& collection = data.collections[c];
    if (c > 0 && data.collections[c - 1].name >= collection.name)
      return Status::invalid_argument(
          "learning data: collections are not ascending and unique at '" + collection.name + "'");
    COLLEGIUM_ASSIGN_OR_RETURN(auto packed, MemoryCollection::create(collection, data.dim));
    library.collections.push_back(std::move(packed));
    for (std::size_t split = 0; split < collection.splits.size(); ++split)
      COLLEGIUM_RETURN_IF_ERROR(
          check_queries(collection.splits[split], data.dim, collection.document_ids.size(),
                        "collection '" + collection.name + "', " + kSplitNames[split]));
    COLLEGIUM_RETURN_IF_ERROR(check_splits(collection));
  }
  for (std::size_t split = 0; split < data.negatives.size(); ++split) {
    const std::string who = std::string("negatives, ") + kSplitNames[split];
    if (data.negatives[split].size() % data.dim != 0)
      return Status::invalid_argument(who + ": " + std::to_string(data.negatives[split].size()) +
                                      " floats is not a multiple of dim " +
                                      std::to_string(data.dim));
    COLLEGIUM_RETURN_IF_ERROR(check_finite(data.negatives[split], data.dim, who));
  }
  return library;
}

std::vector<QueryRef> sample_queries(const LearningData& data, Split split,
                                     std::size_t per_collection) {
  std::vector<QueryRef> refs;
  for (std::size_t c = 0; c < data.collections.size(); ++c)
    for (std::size_t query :
         evenly(data.collections[c].splits[static_cast<std::size_t>(split)].size(), per_collection))
      refs.push_back({c, query});
  return refs;
}

double ndcg_at(std::size_t k, std::span<const std::size_t> ranks, std::span<const float> gains) {
  const auto discount = [](std::size_t rank) {
    return 1.0 / std::log2(static_cast<double>(rank) + 2.0);
  };
  std::vector<double> sorted(gains.begin(), gains.end());
  std::sort(sorted.begin(), sorted.end(), std::greater<>());
  double ideal = 0.0, dcg = 0.0;
  for (std::size_t rank = 0; rank < std::min(k, sorted.size()); ++rank)
    ideal += sorted[rank] * discount(rank);
  for (std::size_t i = 0; i < ranks.size(); ++i)
    if (ranks[i] < k) dcg += double{gains[i]} * discount(ranks[i]);
  return ideal > 0.0 ? dcg / ideal : 0.0;
}

double macro_mean(std::span<const QueryRef> queries, std::span<const double> values,
                  std::size_t num_collections) {
  std::vector<double> sums(num_collections, 0.0);
  std::vector<std::size_t> counts(num_collections, 0);
  for (std::size_t i = 0; i < queries.size(); ++i) {
    sums[queries[i].collection] += values[i];
    ++counts[queries[i].collection];
  }
  double sum = 0.0;
  std::size_t present = 0;
  for (std::size_t c = 0; c < num_collections; ++c)
    if (counts[c] > 0) {
      sum += sums[c] / static_cast<double>(counts[c]);
      ++present;
    }
  return present > 0 ? sum / static_cast<double>(present) : 0.0;
}

Experts experts_of(const LearningData& data,
                   const std::map<std::string, core::TrainedHeadAdapter>& adapters) {
  Experts experts;
  for (const auto& collection : data.collections) {
    const auto found = adapters.find(collection.name);
    const bool has = found != adapters.end() && found->second.strength != 0.0f;
    experts.push_back(has ? &found->second.adapter : nullptr);
  }
  return experts;
}

}  // namespace collegium::router
