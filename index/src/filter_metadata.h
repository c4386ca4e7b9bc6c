#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "collegium/core/bytes.h"
#include "collegium/index/filter.h"
#include "filter_value.h"

namespace collegium::index {

// The positions of a segment that a filter accepts: a bit each (bit i % 8 of byte i / 8).
struct AcceptedPositions {
  std::vector<std::uint8_t> bits;
  std::size_t count = 0;
};

// The metadata of a segment's documents. The texts are parsed for the fields a filter names when it
// is first used, into columns that stay, and what the last filters accepted stays too. Filled by
// one thread, then immutable but for these caches: any number of threads may use it.
class DocumentMetadata {
 public:
  // The columns and the results of filters that are kept.
  static constexpr std::size_t kMaxColumns = 32;
  static constexpr std::size_t kMaxResults = 8;

  // Documents are set in ascending order; one that is left out has none.
  void set(std::size_t document, std::string_view text);

  std::string_view text(std::size_t document) const noexcept;  // empty: none
  // The document's value of `field` as JSON, of an array's the first; empty: none.
  std::string value(std::size_t document, std::string_view field) const;

  // `first` (documents + 1,) is Segment::first.
  std::shared_ptr<const AcceptedPositions> accepted(const std::shared_ptr<const Filter>& filter,
                                                    std::span<const std::uint32_t> first) const;

  // u64 ends[documents], in the text that follows as a string.
  void write(core::ByteWriter& out, std::size_t documents) const;
  [[nodiscard]] bool read(core::ByteReader& in, std::size_t documents);

 private:
  // The values of one field, document by document.
  struct Column {
    std::vector<std::uint64_t> first;  // (documents + 1,): of `values`
    std::vector<FieldValue> values;
    TextPool texts;

    std::span<const FieldValue> of(std::size_t document) const {
      return std::span(values).subspan(first[document], first[document + 1] - first[document]);
    }
  };
  using Columns = std::vector<std::shared_ptr<const Column>>;

  Columns columns(const std::vector<std::string>& fields, std::size_t documents) const;

  std::string texts_;
  std::vector<std::uint64_t> ends_;  // of the documents' texts; the last ones may be left out

  mutable std::mutex mutex_;
  // Both in the order of their use, the last first.
  mutable std::vector<std::pair<std::string, std::shared_ptr<const Column>>> columns_;
  mutable std::vector<
      std::pair<std::shared_ptr<const Filter>, std::shared_ptr<const AcceptedPositions>>>
      results_;
};

}  // namespace collegium::index
