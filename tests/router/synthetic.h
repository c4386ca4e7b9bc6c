#pragma once

#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "collegium/core/random.h"
#include "collegium/router/learning.h"

// Small libraries whose truth is known: each collection's documents lie around a direction of its
// own, and its queries are documents whose pairs of axes were turned by an angle of its own. So an
// expert helps its own collection and harms the others.
namespace collegium::router {

struct SyntheticOptions {
  std::size_t dim = 24;
  std::size_t collections = 3;
  std::size_t documents = 120;    // of each
  std::size_t passages_each = 1;  // of a document
  std::size_t queries[3] = {90, 40, 30};
  std::size_t negatives[3] = {60, 30, 20};
  double turn = 1.0;       // radians; collection c turns by turn * (c odd ? -1 : 1)
  bool own_signs = false;  // instead: every pair of axes one way or the other, as c's signs say
  double spread = 0.7;     // of documents around their collection's direction
  double noise = 0.03;     // of queries
  std::uint64_t seed = 1;
};

struct Synthetic {
  // The spans in `data` look into these.
  std::vector<std::vector<float>> vectors;
  std::vector<std::vector<std::uint32_t>> passage_document;
  LearningData data;

  explicit Synthetic(const SyntheticOptions& options) {
    core::Random random(options.seed);
    const std::size_t dim = options.dim;
    data.dim = dim;
    vectors.resize(options.collections);
    passage_document.resize(options.collections);
    for (std::size_t c = 0; c < options.collections; ++c) {
      CollectionData collection;
      collection.name = std::string("set") + static_cast<char>('a' + c);
      std::vector<double> centre(dim);
      for (double& x : centre) x = random.normal() / std::sqrt(static_cast<double>(dim));
      for (std::size_t document = 0; document < options.documents; ++document) {
        const std::string digits = std::to_string(document);
        collection.document_ids.push_back("d" + std::string(4 - digits.size(), '0') + digits);
        for (std::size_t p = 0; p < options.passages_each; ++p) {
          passage_document[c].push_back(static_cast<std::uint32_t>(document));
          std::vector<float> row(dim);
          for (std::size_t d = 0; d < dim; ++d)
            row[d] = static_cast<float>(centre[d] + options.spread * random.normal() /
                                                        std::sqrt(static_cast<double>(dim)));
          append_unit(row, vectors[c]);
        }
      }
      for (std::size_t split = 0; split < 3; ++split)
        for (std::size_t q = 0; q < options.queries[split]; ++q) {
          const std::uint64_t passage = random.below(passage_document[c].size());
          const float* row = &vectors[c][passage * dim];
          std::vector<float> query(dim);
          for (std::size_t d = 0; d + 1 < dim; d += 2) {
            const bool forth =
                options.own_signs ? core::Random(c * dim + d).below(2) == 0 : c % 2 == 0;
            const double angle = options.turn * (forth ? 1.0 : -1.0);
            query[d] = static_cast<float>(std::cos(angle) * row[d] - std::sin(angle) * row[d + 1]);
            query[d + 1] =
                static_cast<float>(std::sin(angle) * row[d] + std::cos(angle) * row[d + 1]);
          }
          for (float& x : query) x += static_cast<float>(options.noise * random.normal());
          QuerySet& set = collection.splits[split];
          append_unit(query, set.vectors);
          set.ids.push_back("q" + std::to_string(split) + "-" + std::to_string(q));
          set.relevant.push_back({passage_document[c][passage]});
          set.gains.push_back({1.0f});
        }
      data.collections.push_back(std::move(collection));
    }
    for (std::size_t c = 0; c < options.collections; ++c) {
      data.collections[c].vectors = vectors[c];
      data.collections[c].passage_document = passage_document[c];
    }
    // Questions that need no corpus lie around a direction that no collection has.
    std::vector<double> centre(dim);
    for (double& x : centre) x = random.normal() / std::sqrt(static_cast<double>(dim));
    for (std::size_t split = 0; split < 3; ++split)
      for (std::size_t i = 0; i < options.negatives[split]; ++i) {
        std::vector<float> query(dim);
        for (std::size_t d = 0; d < dim; ++d)
          query[d] = static_cast<float>(centre[d] + 0.5 * random.normal() /
                                                        std::sqrt(static_cast<double>(dim)));
        append_unit(query, data.negatives[split]);
      }
  }
  Synthetic(const Synthetic&) = delete;
  Synthetic& operator=(const Synthetic&) = delete;

 private:
  static void append_unit(const std::vector<float>& vector, std::vector<float>& to) {
    double sum = 0.0;
    for (float x : vector) sum += double{x} * x;
    for (float x : vector) to.push_back(static_cast<float>(x / std::sqrt(sum)));
  }
};

// Learns such a world in a moment.
inline LearnOptions quick_learning() {
  LearnOptions options;
  options.adapter.learning_rate = 0.02f;
  options.adapter.batch_size = 32;
  options.adapter.max_epochs = 6;
  return options;
}

}  // namespace collegium::router
