#include "graph.h"

#include <xxhash.h>

#include <algorithm>
#include <limits>
#include <string>
#include <utility>

#include "collegium/core/random.h"
#include "graph_walk.h"

namespace collegium::index {
// A row is on level l with probability links^-l. Drawn from its number, so that it is the same
// whenever the row comes.
void Graph::lay_out(std::size_t rows) {
  const std::size_t before = levels_.size();
  std::uint32_t upper = static_cast<std::uint32_t>(upper_.size() / options_.links);
  for (std::size_t row = before; row < rows; ++row) {
    const std::uint64_t drawn = core::Random(row).next();
    std::uint8_t level = 0;
    for (std::uint64_t below = std::numeric_limits<std::uint64_t>::max() / options_.links;
         drawn < below && level < kMostLevels; below /= options_.links)
      ++level;
    levels_.push_back(level);
    upper_begin_.push_back(upper);
    upper += level;
  }
  ground_.resize(rows * 2 * options_.links, kNone);
  upper_.resize(std::size_t{upper} * options_.links, kNone);
}

void Graph::make_digest() {
  const std::uint64_t parts[] = {options_.links,
                                 options_.build_breadth,
                                 entry_,
                                 XXH3_64bits(levels_.data(), levels_.size()),
                                 XXH3_64bits(ground_.data(), ground_.size() * sizeof(ground_[0])),
                                 XXH3_64bits(upper_.data(), upper_.size() * sizeof(std::uint32_t))};
  digest_ = XXH3_64bits(parts, sizeof(parts)) | 1;
}

std::vector<ScoredPosition> Graph::walk(const ScanCodes& codes, const CodedQuery& query,
                                        std::size_t breadth) const {
  if (size() == 0) return {};
  const CodeRows rows = code_rows(codes);
  const ScoreCodes score = score_codes_for(core::active_isa());
  WalkSpace space;
  ScoredPosition at{0.0f, entry_};
  score(rows, &entry_, 1, query.codes(), query.scale(), &at.score);
  for (std::size_t level = levels_[entry_]; level > 0; --level)
    descend(
        rows, score, query.codes(), query.scale(), at, kNone,
        [&](std::uint32_t node) { return links(node, level); }, space.scores);
  walk_level(
      rows, score, query.codes(), query.scale(), at, breadth, size(), 2 * options_.links, kNone,
      [&](std::uint32_t node) { return links(node, 0); }, space);
  return std::move(space.pool.finish());
}

// Graph, little-endian: u32 links, u32 build breadth, u32 entry, u8 levels[rows],
// u32 ground[rows][2 * links], u64 upper links, u32 upper[...]: row by row, level by level, links
// of them each; a link is a row, 0xffffffff none.
void Graph::write(core::ByteWriter& out) const {
  out.write(options_.links);
  out.write(options_.build_breadth);
  out.write(entry_);
  out.write_numbers(std::span<const std::uint8_t>(levels_));
  out.write_numbers(std::span<const std::uint32_t>(ground_));
  out.write<std::uint64_t>(upper_.size());
  out.write_numbers(std::span<const std::uint32_t>(upper_));
}

Result<Graph> Graph::read(core::ByteReader& in, std::size_t rows) {
  const auto damaged = [](const std::string& what) { return Status::corruption("graph: " + what); };
  Graph graph;
  std::uint64_t num_upper = 0;
  std::vector<std::uint32_t> ground;
  if (!in.read(graph.options_.links) || !in.read(graph.options_.build_breadth) ||
      !in.read(graph.entry_))
    return damaged("shorter than it says");
  const std::size_t m = graph.options_.links;
  if (const Status valid = graph.options_.validate(); !valid.ok()) return damaged(valid.message());
  if (!in.read_numbers(rows, graph.levels_) || !in.read_numbers(rows * 2 * m, ground) ||
      !in.read(num_upper) || !in.read_numbers(num_upper, graph.upper_))
    return damaged("shorter than it says");
  graph.ground_.assign(ground.begin(), ground.end());
  std::uint64_t upper = 0;
  std::uint8_t top = 0;
  graph.upper_begin_.reserve(rows);
  for (const std::uint8_t level : graph.levels_) {
    if (level > kMostLevels) return damaged("level " + std::to_string(level));
    graph.upper_begin_.push_back(static_cast<std::uint32_t>(upper));
    upper += level;
    top = std::max(top, level);
  }
  if (upper * m != num_upper || graph.entry_ >= rows || graph.levels_[graph.entry_] != top)
    return damaged("levels and links disagree");
  // A link on a level must lead to a row that is on it, or a walk would leave the table.
  for (std::size_t row = 0; row < rows; ++row)
    for (std::size_t level = 0; level <= graph.levels_[row]; ++level)
      for (const std::uint32_t to : graph.links(static_cast<std::uint32_t>(row), level))
        if (to != kNone && (to >= rows || graph.levels_[to] < level))
          return damaged("link to " + std::to_string(to));
  graph.make_digest();
  return graph;
}

Status GraphOptions::validate() const {
  if (links < kFewestLinks || links > kMostLinks)
    return Status::invalid_argument("links: " + std::to_string(links) + ", allowed are " +
                                    std::to_string(kFewestLinks) + " to " +
                                    std::to_string(kMostLinks));
  if (build_breadth < 1 || build_breadth > kMostBuildBreadth)
    return Status::invalid_argument("build_breadth: " + std::to_string(build_breadth) +
                                    ", allowed are 1 to " + std::to_string(kMostBuildBreadth));
  return {};
}

}  // namespace collegium::index
