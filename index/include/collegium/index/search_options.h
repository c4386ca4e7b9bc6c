#pragma once

#include <cstddef>
#include <memory>

namespace collegium::index {

class Filter;

// How one search is done. Never kept as state of an index: two calls with the same options, query
// and commit (and index generation, see Hit) give the same hits whatever happened between them.
struct SearchOptions {
  // Only documents whose metadata it accepts; null: all. Applied before ranking, so a search gives
  // min(k, documents that match) hits.
  std::shared_ptr<const Filter> filter;
  // Leave a graph aside and compare the query with every row.
  bool exact = false;
  // How many rows a graph keeps in view while it is walked (efSearch of arXiv 1603.09320); more is
  // slower and finds more. 0: the index's own default.
  std::size_t breadth = 0;
};

}  // namespace collegium::index
