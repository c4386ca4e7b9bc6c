#include "collegium/index/index_settings.h"

#include "graph.h"
#include "inverted_lists.h"

namespace collegium::index {
namespace {

constexpr std::string_view kNames[] = {"auto", "exact", "hnsw", "ivf"};
constexpr std::uint32_t kMostEffort = 65536;
constexpr std::size_t kLongestReason = 4096;

}  // namespace

std::string_view index_kind_name(IndexKind kind) noexcept {
  const auto number = static_cast<std::size_t>(kind);
  return number < std::size(kNames) ? kNames[number] : "unknown";
}

Result<IndexKind> parse_index_kind(std::string_view name) {
  for (std::size_t i = 0; i < std::size(kNames); ++i)
    if (name == kNames[i]) return static_cast<IndexKind>(i);
  return Status::invalid_argument("index kind '" + std::string(name) +
                                  "', allowed are auto, exact, hnsw and ivf");
}

Status IndexSettings::validate() const {
  if (kind < IndexKind::kAuto || kind > IndexKind::kIvf)
    return Status::invalid_argument("index kind " + std::to_string(static_cast<int>(kind)) +
                                    ", allowed are 0 to 3");
  COLLEGIUM_RETURN_IF_ERROR((GraphOptions{links, build_breadth}.validate()));
  if (lists > InvertedLists::kMostLists)
    return Status::invalid_argument("lists: " + std::to_string(lists) + ", allowed are 0 to " +
                                    std::to_string(InvertedLists::kMostLists));
  if (effort > kMostEffort)
    return Status::invalid_argument("effort: " + std::to_string(effort) + ", allowed are 0 to " +
                                    std::to_string(kMostEffort));
  if (!(target_recall > 0.0 && target_recall <= 1.0))
    return Status::invalid_argument("target_recall: " + std::to_string(target_recall) +
                                    ", allowed is what is above 0, up to 1");
  if (reason.size() > kLongestReason)
    return Status::invalid_argument("reason: " + std::to_string(reason.size()) +
                                    " bytes, allowed are " + std::to_string(kLongestReason));
  return {};
}

}  // namespace collegium::index
