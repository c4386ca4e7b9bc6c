#include "inverted_lists.h"

#include <faiss/Clustering.h>
#include <faiss/Index.h>
#include <faiss/impl/FaissAssert.h>
#include <xxhash.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <utility>

#include "collegium/core/isa.h"
#include "scan_kernels.h"
#include "scan_parts.h"

namespace collegium::index {
namespace {

// The row of `rows` that each of `queries` has the largest product with.
std::vector<std::uint32_t> nearest(std::span<const float> rows, std::size_t dim,
                                   std::span<const float> queries, float* products) {
  const std::vector<BlockResult> found =
      scan_floats({rows, dim, {}, rows.size() / dim}, queries, 1);
  std::vector<std::uint32_t> positions(found.size());
  for (std::size_t i = 0; i < found.size(); ++i) {
    positions[i] = found[i].best[0].position;
    if (products != nullptr) products[i] = found[i].best[0].score;
  }
  return positions;
}

// What FAISS's k-means asks for the nearest centre: our scan, which is the same bits for any
// number of threads.
class Centres final : public faiss::Index {
 public:
  explicit Centres(std::size_t dim)
      : faiss::Index(static_cast<idx_t>(dim), faiss::METRIC_INNER_PRODUCT) {}

  void add(idx_t n, const float* x) override {
    vectors_.insert(vectors_.end(), x, x + n * d);
    ntotal += n;
  }
  void reset() override {
    vectors_.clear();
    ntotal = 0;
  }
  void search(idx_t n, const float* x, idx_t k, float* distances, idx_t* labels,
              const faiss::SearchParameters* = nullptr) const override {
    FAISS_THROW_IF_NOT_MSG(k == 1, "k-means asks for one centre");
    const auto dim = static_cast<std::size_t>(d);
    const auto positions =
        nearest(vectors_, dim, {x, static_cast<std::size_t>(n) * dim}, distances);
    std::copy(positions.begin(), positions.end(), labels);
  }

 private:
  std::vector<float> vectors_;
};

}  // namespace

std::uint32_t InvertedLists::default_lists(std::size_t rows) {
  const double lists = 4.0 * std::sqrt(static_cast<double>(rows));
  return static_cast<std::uint32_t>(std::clamp(lists, 1.0, static_cast<double>(kMostLists)));
}

InvertedLists InvertedLists::build(std::span<const float> rows, std::size_t dim,
                                   std::uint32_t lists, const InvertedLists* base) {
  const std::size_t size = rows.size() / dim;
  InvertedLists made;
  made.dim_ = dim;
  std::vector<std::uint32_t> list_of;  // by row
  if (base != nullptr) {
    made.centres_ = base->centres_;
    list_of.resize(base->size());
    for (std::uint32_t list = 0; list < base->num_lists(); ++list)
      for (std::uint32_t i = base->begin_[list]; i < base->begin_[list + 1]; ++i)
        list_of[base->positions_[i]] = list;
  } else {
    faiss::ClusteringParameters parameters;
    parameters.niter = 10;
    parameters.spherical = true;
    parameters.min_points_per_centroid = 1;  // else it prints
    parameters.max_points_per_centroid = 128;
    parameters.seed = 1234;
    const auto k = static_cast<int>(std::min<std::size_t>(lists, size));
    faiss::Clustering clustering(static_cast<int>(dim), k, parameters);
    Centres centres(dim);
    clustering.train(static_cast<faiss::Index::idx_t>(size), rows.data(), centres);
    made.centres_.assign(clustering.centroids.begin(), clustering.centroids.end());
  }
  const auto more = nearest({made.centres_.data(), made.centres_.size()}, dim,
                            rows.subspan(list_of.size() * dim), nullptr);
  list_of.insert(list_of.end(), more.begin(), more.end());

  made.begin_.assign(made.centres_.size() / dim + 1, 0);
  for (const std::uint32_t list : list_of) ++made.begin_[list + 1];
  for (std::size_t list = 1; list < made.begin_.size(); ++list)
    made.begin_[list] += made.begin_[list - 1];
  std::vector<std::uint32_t> next(made.begin_.begin(), made.begin_.end() - 1);
  made.positions_.resize(size);
  for (std::size_t row = 0; row < size; ++row)
    made.positions_[next[list_of[row]]++] = static_cast<std::uint32_t>(row);
  made.make_digest();
  return made;
}

void InvertedLists::make_digest() {
  const std::uint64_t parts[] = {
      dim_, XXH3_64bits(centres_.data(), centres_.size() * sizeof(float)),
      XXH3_64bits(begin_.data(), begin_.size() * sizeof(std::uint32_t)),
      XXH3_64bits(positions_.data(), positions_.size() * sizeof(std::uint32_t))};
  digest_ = XXH3_64bits(parts, sizeof(parts)) | 1;
}

std::vector<ScoredPosition> InvertedLists::search(const ScanCodes& codes,
                                                  std::span<const float> query,
                                                  const CodedQuery& coded, std::size_t probes,
                                                  std::size_t keep,
                                                  std::span<const std::uint8_t> live) const {
  const std::size_t lists = num_lists();
  std::vector<float> scores(lists);
  scan_kernels().score_rows(centres_.data(), nullptr, lists, dim_, query.data(), 1, scores.data(),
                            lists, {});
  std::vector<ScoredPosition> order(lists);
  for (std::uint32_t list = 0; list < lists; ++list) order[list] = {scores[list], list};
  keep_best(order, std::min(probes, lists));

  const ScoreCodes score = score_codes_for(core::active_isa());
  const CodeRows rows = code_rows(codes);
  std::vector<ScoredPosition> found;
  found.reserve(2 * keep + 64);
  float threshold = -std::numeric_limits<float>::infinity();
  std::vector<std::uint32_t> living;
  for (const ScoredPosition& one : order) {
    std::span<const std::uint32_t> list =
        std::span(positions_)
            .subspan(begin_[one.position], begin_[one.position + 1] - begin_[one.position]);
    if (!live.empty()) {
      living.clear();
      for (const std::uint32_t row : list)
        if ((live[row / 8] >> (row % 8) & 1) != 0) living.push_back(row);
      list = living;
    }
    scores.resize(std::max(scores.size(), list.size()));
    score(rows, list.data(), list.size(), coded.codes(), coded.scale(), scores.data());
    for (std::size_t i = 0; i < list.size(); ++i) {
      if (scores[i] < threshold) continue;
      found.push_back({scores[i], list[i]});
      if (found.size() < 2 * keep + 64) continue;
      keep_best(found, keep);
      threshold = found.back().score;
    }
  }
  keep_best(found, keep);
  return found;
}

// Lists, little-endian: u32 lists, f32 centres[lists][dim], u32 begin[lists + 1],
// u32 positions[rows]: a list's rows are positions[begin[list] ... begin[list + 1]], ascending.
void InvertedLists::write(core::ByteWriter& out) const {
  out.write(num_lists());
  out.write_numbers(std::span<const float>(centres_));
  out.write_numbers(std::span<const std::uint32_t>(begin_));
  out.write_numbers(std::span<const std::uint32_t>(positions_));
}

Result<InvertedLists> InvertedLists::read(core::ByteReader& in, std::size_t rows, std::size_t dim) {
  const auto damaged = [](const char* what) {
    return Status::corruption(std::string("lists: ") + what);
  };
  InvertedLists lists;
  lists.dim_ = dim;
  std::uint32_t count = 0;
  std::vector<float> centres;
  if (!in.read(count) || count == 0 || count > kMostLists ||
      !in.read_numbers(std::uint64_t{count} * dim, centres) ||
      !in.read_numbers(std::uint64_t{count} + 1, lists.begin_) ||
      !in.read_numbers(rows, lists.positions_))
    return damaged("shorter than it says");
  lists.centres_.assign(centres.begin(), centres.end());
  if (!std::all_of(centres.begin(), centres.end(), [](float x) { return std::isfinite(x); }))
    return damaged("a centre is not finite");
  if (lists.begin_.front() != 0 || lists.begin_.back() != rows ||
      !std::is_sorted(lists.begin_.begin(), lists.begin_.end()))
    return damaged("a list ends before it begins");
  std::vector<bool> seen(rows);
  for (std::uint32_t list = 0; list < count; ++list) {
    for (std::uint32_t i = lists.begin_[list]; i < lists.begin_[list + 1]; ++i) {
      const std::uint32_t row = lists.positions_[i];
      if (row >= rows || seen[row] || (i > lists.begin_[list] && row <= lists.positions_[i - 1]))
        return damaged("not each row once, in order");
      seen[row] = true;
    }
  }
  lists.make_digest();
  return lists;
}

}  // namespace collegium::index
