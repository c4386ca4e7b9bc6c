#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "collegium/core/bytes.h"
#include "collegium/core/status.h"
#include "collegium/core/text/passages.h"
#include "filter_metadata.h"
#include "vector_block.h"

namespace collegium::index {

// A block of vectors and what its positions stand for. A document's passages are neighbours and
// all in one segment; rows ascend. Immutable once shared.
struct Segment {
  std::shared_ptr<const VectorBlock> block;
  std::vector<std::uint64_t> rows;        // (positions,): the passage's row, never reused
  std::vector<std::uint32_t> document;    // (positions,): which of `ids`
  std::vector<std::uint64_t> begin, end;  // (positions,): bytes in the document's text
  std::vector<std::uint32_t> section;     // (positions,): which of `sections`
  std::vector<std::string> ids;           // (documents,), in the order of their rows
  std::vector<std::uint32_t> first;       // (documents + 1,): their first position
  std::vector<std::string> sections;
  std::shared_ptr<const DocumentMetadata> metadata;  // by document; null: none has any

  std::string_view metadata_of(std::size_t document_number) const noexcept {
    return metadata == nullptr ? std::string_view() : metadata->text(document_number);
  }
  std::size_t size() const noexcept { return rows.size(); }

  void write(core::ByteWriter& out) const;  // layout: docs/formats.md
  static Result<std::shared_ptr<const Segment>> read(core::ByteReader& in, std::size_t dim);
};

// A segment as one commit sees it: which of its positions are alive.
struct LiveSegment {
  std::shared_ptr<const Segment> segment;
  std::shared_ptr<const std::vector<std::uint8_t>> live;  // a bit a position; null: all alive
  std::size_t num_live = 0;                               // positions

  bool alive(std::size_t position) const {
    return live == nullptr || ((*live)[position / 8] >> (position % 8) & 1) != 0;
  }
  std::span<const std::uint8_t> live_bits() const {
    return live == nullptr ? std::span<const std::uint8_t>() : std::span(*live);
  }
};

// Collects documents, by ascending row, into a segment without a graph.
class SegmentBuilder {
 public:
  static Result<SegmentBuilder> create(std::size_t dim);

  Status reserve(std::size_t passages);
  // `vectors` (passages, dim); at least one passage; rows first_row, first_row + 1, ...
  Status add_document(std::string_view id, std::uint64_t first_row,
                      std::span<const core::PassageSpan> passages, std::span<const float> vectors,
                      std::string_view metadata);
  // The living documents of `from` whose rows are at least `from_row`.
  Status add_living(const LiveSegment& from, std::uint64_t from_row = 0);

  std::size_t size() const noexcept { return segment_->size(); }
  LiveSegment finish();  // the builder is then empty and done with

 private:
  SegmentBuilder() = default;
  void add_metadata(std::string_view metadata);  // of the last document
  void add_position(std::uint64_t row, core::ByteSpan bytes, std::string_view section);

  std::shared_ptr<Segment> segment_;
  std::unique_ptr<VectorBlock> block_;
  std::shared_ptr<DocumentMetadata> metadata_;
};

}  // namespace collegium::index
