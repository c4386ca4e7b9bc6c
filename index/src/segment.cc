#include "segment.h"

#include <algorithm>
#include <utility>

namespace collegium::index {

Result<SegmentBuilder> SegmentBuilder::create(std::size_t dim) {
  SegmentBuilder builder;
  COLLEGIUM_ASSIGN_OR_RETURN(builder.block_, VectorBlock::create_exact(dim));
  builder.segment_ = std::make_shared<Segment>();
  builder.segment_->first.push_back(0);
  return builder;
}

Status SegmentBuilder::reserve(std::size_t passages) {
  segment_->rows.reserve(passages);
  segment_->document.reserve(passages);
  segment_->begin.reserve(passages);
  segment_->end.reserve(passages);
  segment_->section.reserve(passages);
  return block_->reserve(passages);
}

void SegmentBuilder::add_position(std::uint64_t row, core::ByteSpan bytes,
                                  std::string_view section) {
  Segment& segment = *segment_;
  // Neighbours mostly share their section: one copy for a run of them.
  if (segment.sections.empty() || segment.sections.back() != section)
    segment.sections.emplace_back(section);
  segment.rows.push_back(row);
  segment.document.push_back(static_cast<std::uint32_t>(segment.ids.size() - 1));
  segment.begin.push_back(bytes.begin);
  segment.end.push_back(bytes.end);
  segment.section.push_back(static_cast<std::uint32_t>(segment.sections.size() - 1));
}

void SegmentBuilder::add_metadata(std::string_view metadata) {
  if (metadata.empty()) return;
  if (metadata_ == nullptr) metadata_ = std::make_shared<DocumentMetadata>();
  metadata_->set(segment_->ids.size() - 1, metadata);
}

Status SegmentBuilder::add_document(std::string_view id, std::uint64_t first_row,
                                    std::span<const core::PassageSpan> passages,
                                    std::span<const float> vectors, std::string_view metadata) {
  COLLEGIUM_RETURN_IF_ERROR(block_->append(vectors));
  segment_->ids.emplace_back(id);
  add_metadata(metadata);
  for (std::size_t i = 0; i < passages.size(); ++i)
    add_position(first_row + i, passages[i].bytes, passages[i].section);
  segment_->first.push_back(static_cast<std::uint32_t>(segment_->size()));
  return {};
}

Status SegmentBuilder::add_living(const LiveSegment& from, std::uint64_t from_row) {
  const Segment& source = *from.segment;
  const std::size_t dim = block_->dim();
  for (std::size_t document = 0; document < source.ids.size(); ++document) {
    const std::size_t begin = source.first[document];
    const std::size_t end = source.first[document + 1];
    if (source.rows[begin] < from_row || !from.alive(begin)) continue;
    COLLEGIUM_RETURN_IF_ERROR(
        block_->append(source.block->vectors().subspan(begin * dim, (end - begin) * dim)));
    segment_->ids.push_back(source.ids[document]);
    add_metadata(source.metadata_of(document));
    for (std::size_t i = begin; i < end; ++i)
      add_position(source.rows[i], {source.begin[i], source.end[i]},
                   source.sections[source.section[i]]);
    segment_->first.push_back(static_cast<std::uint32_t>(segment_->size()));
  }
  return {};
}

LiveSegment SegmentBuilder::finish() {
  segment_->block = std::move(block_);
  segment_->metadata = std::move(metadata_);
  const std::size_t size = segment_->size();
  return {std::move(segment_), nullptr, size};
}

// Segment, little-endian: u64 documents, u64 positions, strings ids[documents],
// u32 first[documents + 1], u64 rows[positions], u64 begin[positions], u64 end[positions],
// u32 section[positions], u64 sections, strings sections[...], u8 metadata (0 or 1), with metadata
// u64 ends[documents] and the texts as a string, block (vector_block.cc).
void Segment::write(core::ByteWriter& out) const {
  out.write<std::uint64_t>(ids.size());
  out.write<std::uint64_t>(size());
  for (const std::string& id : ids) out.write_string(id);
  out.write_numbers(std::span<const std::uint32_t>(first));
  out.write_numbers(std::span<const std::uint64_t>(rows));
  out.write_numbers(std::span<const std::uint64_t>(begin));
  out.write_numbers(std::span<const std::uint64_t>(end));
  out.write_numbers(std::span<const std::uint32_t>(section));
  out.write<std::uint64_t>(sections.size());
  for (const std::string& name : sections) out.write_string(name);
  out.write<std::uint8_t>(metadata != nullptr);
  if (metadata != nullptr) metadata->write(out, ids.size());
  block->write(out);
}

Result<std::shared_ptr<const Segment>> Segment::read(core::ByteReader& in, std::size_t dim) {
  const auto damaged = [](const char* what) {
    return Status::corruption(std::string("segment: ") + what);
  };
  const auto read_strings = [&in](std::uint64_t count, std::vector<std::string>& strings) {
    if (count > in.remaining() / sizeof(std::uint64_t)) return false;
    strings.resize(count);
    return std::all_of(strings.begin(), strings.end(),
                       [&in](std::string& text) { return in.read_string(text); });
  };
  auto segment = std::make_shared<Segment>();
  std::uint64_t documents = 0;
  std::uint64_t positions = 0;
  std::uint64_t num_sections = 0;
  std::uint8_t has_metadata = 0;
  if (!in.read(documents) || !in.read(positions) || !read_strings(documents, segment->ids) ||
      !in.read_numbers(documents + 1, segment->first) ||
      !in.read_numbers(positions, segment->rows) || !in.read_numbers(positions, segment->begin) ||
      !in.read_numbers(positions, segment->end) || !in.read_numbers(positions, segment->section) ||
      !in.read(num_sections) || !read_strings(num_sections, segment->sections) ||
      !in.read(has_metadata))
    return damaged("shorter than it says");
  if (has_metadata > 1) return damaged("metadata is neither there nor not");
  if (has_metadata == 1) {
    auto metadata = std::make_shared<DocumentMetadata>();
    if (!metadata->read(in, documents)) return damaged("metadata out of step");
    segment->metadata = std::move(metadata);
  }
  COLLEGIUM_ASSIGN_OR_RETURN(segment->block, VectorBlock::read(in, dim));

  if (segment->block->size() != positions || segment->first.front() != 0 ||
      segment->first.back() != positions)
    return damaged("counts disagree");
  segment->document.reserve(positions);
  for (std::size_t d = 0; d < documents; ++d) {
    if (segment->first[d] >= segment->first[d + 1] || segment->first[d + 1] > positions)
      return damaged("a document without passages");
    segment->document.insert(segment->document.end(), segment->first[d + 1] - segment->first[d],
                             static_cast<std::uint32_t>(d));
  }
  for (std::size_t i = 0; i < positions; ++i) {
    if (i > 0 && segment->rows[i] <= segment->rows[i - 1]) return damaged("rows do not ascend");
    if (segment->begin[i] > segment->end[i]) return damaged("a passage ends before it begins");
    if (segment->section[i] >= num_sections) return damaged("an unknown section");
  }
  return std::shared_ptr<const Segment>(std::move(segment));
}

}  // namespace collegium::index
