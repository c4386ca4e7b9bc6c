#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "collegium/core/thread_pool.h"
#include "graph.h"
#include "graph_walk.h"

namespace collegium::index {

class GraphBuilder {
 public:
  GraphBuilder(Graph& graph, const ScanCodes& codes)
      : graph_(graph),
        codes_(codes),
        rows_(code_rows(codes)),
        score_(score_codes_for(core::active_isa())) {}

  // Links the rows [begin, end) of a graph whose rows below `begin` are linked.
  void add_batch(std::uint32_t begin, std::uint32_t end) {
    const std::size_t n = end - begin;
    chosen_.assign(n, {});
    auto& pool = core::default_pool();
    constexpr std::size_t kRowsATask = 4;
    pool.parallel_for((n + kRowsATask - 1) / kRowsATask, [&](std::size_t task) {
      WalkSpace space;
      const std::size_t last = std::min(n, (task + 1) * kRowsATask);
      for (std::size_t i = task * kRowsATask; i < last; ++i)
        choose(begin, begin + static_cast<std::uint32_t>(i), chosen_[i], space);
    });
    write_links(begin);
    for (std::uint32_t row = begin; row < end; ++row)
      if (graph_.entry_ == Graph::kNone || graph_.levels_[row] > graph_.levels_[graph_.entry_])
        graph_.entry_ = row;
  }

 private:
  const std::int8_t* code(std::uint32_t row) const { return rows_.codes + row * rows_.stride; }

  // Of `found`, best first, at most `most`: a row is left out when it is nearer to a chosen one
  // than to the node, since a walk reaches it by that one.
  std::vector<std::uint32_t> diverse(std::span<const ScoredPosition> found,
                                     std::size_t most) const {
    constexpr std::size_t kAtOnce = 8;
    std::vector<std::uint32_t> chosen;
    for (const ScoredPosition& one : found) {
      if (chosen.size() == most) break;
      float scores[kAtOnce];
      bool covered = false;
      for (std::size_t i = 0; i < chosen.size() && !covered; i += kAtOnce) {
        const std::size_t n = std::min(kAtOnce, chosen.size() - i);
        score_(rows_, chosen.data() + i, n, code(one.position), rows_.scale[one.position], scores);
        covered = std::any_of(scores, scores + n, [&](float score) { return score > one.score; });
      }
      if (!covered) chosen.push_back(one.position);
    }
    return chosen;
  }

  // The links of `row`, a list for each of its levels, from the graph and the rows since `begin`.
  void choose(std::uint32_t begin, std::uint32_t row,
              std::vector<std::vector<std::uint32_t>>& lists, WalkSpace& space) {
    const std::int8_t* query = code(row);
    const float scale = rows_.scale[row];
    const std::size_t level_of_row = graph_.levels_[row];
    lists.resize(level_of_row + 1);

    std::vector<std::uint32_t> mates(row - begin);
    for (std::uint32_t mate = begin; mate < row; ++mate) mates[mate - begin] = mate;
    std::vector<float> mate_scores(mates.size());
    score_(rows_, mates.data(), mates.size(), query, scale, mate_scores.data());

    const bool any = graph_.entry_ != Graph::kNone;
    const std::size_t top = any ? graph_.levels_[graph_.entry_] : 0;
    ScoredPosition at{0.0f, graph_.entry_};
    if (any) score_(rows_, &at.position, 1, query, scale, &at.score);
    for (std::size_t level = std::max(top, level_of_row) + 1; level-- > 0;) {
      const auto links_of = [&](std::uint32_t node) {
        return std::span<const std::uint32_t>(graph_.links(node, level));
      };
      if (level > level_of_row) {
        descend(rows_, score_, query, scale, at, Graph::kNone, links_of, space.scores);
        continue;
      }
      if (any && level <= top) {
        walk_level(rows_, score_, query, scale, at, graph_.options_.build_breadth, begin,
                   2 * graph_.options_.links, Graph::kNone, links_of, space);
      } else {
        space.pool.start(graph_.options_.build_breadth);
      }
      const bool walked = !space.pool.finish().empty();
      if (walked) at = space.pool.finish().front();
      for (std::size_t i = 0; i < mates.size(); ++i)
        if (graph_.levels_[mates[i]] >= level) space.pool.offer({mate_scores[i], mates[i]});
      lists[level] = diverse(space.pool.finish(), graph_.options_.links);
    }
  }

  // A link back: `to` learns of `from`.
  struct Back {
    std::uint32_t to;
    std::uint32_t from;
  };

  void write_links(std::uint32_t begin) {
    std::size_t highest = 0;
    for (const auto& lists : chosen_) highest = std::max(highest, lists.size());
    for (std::size_t level = 0; level < highest; ++level) {
      std::vector<Back> backs;
      for (std::size_t i = 0; i < chosen_.size(); ++i) {
        if (level >= chosen_[i].size()) continue;
        const auto row = begin + static_cast<std::uint32_t>(i);
        std::copy(chosen_[i][level].begin(), chosen_[i][level].end(),
                  graph_.links(row, level).begin());
        for (const std::uint32_t to : chosen_[i][level]) backs.push_back({to, row});
      }
      // By node, and for each in the order of the rows: nodes are then independent of each other.
      std::sort(backs.begin(), backs.end(), [](const Back& a, const Back& b) {
        return a.to != b.to ? a.to < b.to : a.from < b.from;
      });
      std::vector<std::size_t> nodes;  // where each begins
      for (std::size_t i = 0; i < backs.size(); ++i)
        if (i == 0 || backs[i].to != backs[i - 1].to) nodes.push_back(i);
      nodes.push_back(backs.size());
      constexpr std::size_t kNodesATask = 16;
      core::default_pool().parallel_for(
          (nodes.size() - 1 + kNodesATask - 1) / kNodesATask, [&](std::size_t task) {
            const std::size_t last = std::min(nodes.size() - 1, (task + 1) * kNodesATask);
            for (std::size_t i = task * kNodesATask; i < last; ++i)
              link_back(level, std::span(backs).subspan(nodes[i], nodes[i + 1] - nodes[i]));
          });
    }
  }

  // Adds the links of one node; when there is no room for all, the old and the new ones are chosen
  // from anew.
  void link_back(std::size_t level, std::span<const Back> backs) {
    const std::uint32_t node = backs[0].to;
    const std::span<std::uint32_t> links = graph_.links(node, level);
    auto end = std::find(links.begin(), links.end(), Graph::kNone);
    if (static_cast<std::size_t>(links.end() - end) >= backs.size()) {
      for (const Back& back : backs) *end++ = back.from;
      return;
    }
    std::vector<std::uint32_t> all(links.begin(), end);
    for (const Back& back : backs) all.push_back(back.from);
    std::vector<float> scores(all.size());
    score_(rows_, all.data(), all.size(), code(node), rows_.scale[node], scores.data());
    std::vector<ScoredPosition> found(all.size());
    for (std::size_t i = 0; i < all.size(); ++i) found[i] = {scores[i], all[i]};
    std::sort(found.begin(), found.end(), scores_better);
    const std::vector<std::uint32_t> chosen = diverse(found, links.size());
    std::fill(std::copy(chosen.begin(), chosen.end(), links.begin()), links.end(), Graph::kNone);
  }

  Graph& graph_;
  const ScanCodes& codes_;
  const CodeRows rows_;
  const ScoreCodes score_;
  std::vector<std::vector<std::vector<std::uint32_t>>> chosen_;  // by row of the batch and level
};

Graph Graph::build(const ScanCodes& codes, const GraphOptions& options, const Graph* base) {
  Graph graph;
  if (base != nullptr)
    graph = *base;
  else
    graph.options_ = options;
  const auto begin = static_cast<std::uint32_t>(graph.size());
  const auto rows = static_cast<std::uint32_t>(codes.scale.size());
  graph.lay_out(rows);
  GraphBuilder builder(graph, codes);
  for (std::uint32_t at = begin; at < rows;) {
    // Large enough to keep many threads busy, small beside the graph that its rows search.
    const std::uint32_t batch = std::clamp<std::uint32_t>(at / 256, 256, 1024);
    builder.add_batch(at, std::min(rows, at + batch));
    at = std::min(rows, at + batch);
  }
  graph.make_digest();
  return graph;
}

}  // namespace collegium::index
