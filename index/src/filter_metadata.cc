#include "filter_metadata.h"

#include <algorithm>

#include "filter_program.h"

namespace collegium::index {
namespace {

using Kind = FilterNode::Kind;
using Accepted = std::vector<std::uint8_t>;  // (documents,): 0 or 1

// Moves the entry that `is_wanted` finds to the front; false if there is none.
template <typename Entries, typename Predicate>
bool move_to_front(Entries& entries, Predicate is_wanted) {
  const auto found = std::find_if(entries.begin(), entries.end(), is_wanted);
  if (found == entries.end()) return false;
  std::rotate(entries.begin(), found, found + 1);
  return true;
}

// `test(node, document)` is asked for the leaves; the rest goes a whole column at a time.
template <typename Test>
Accepted evaluate(const FilterNode& node, std::size_t documents, const Test& test) {
  if (node.is_test()) {
    Accepted accepted(documents);
    for (std::size_t d = 0; d < documents; ++d) accepted[d] = test(node, d) ? 1 : 0;
    return accepted;
  }
  const bool all = node.kind != Kind::kAny;
  Accepted accepted(documents, all ? 1 : 0);
  for (const FilterNode& child : node.children) {
    const Accepted part = evaluate(child, documents, test);
    for (std::size_t d = 0; d < documents; ++d)
      accepted[d] = static_cast<std::uint8_t>(all ? accepted[d] & part[d] : accepted[d] | part[d]);
  }
  if (node.kind == Kind::kNot)
    for (std::uint8_t& one : accepted) one ^= 1;
  return accepted;
}

}  // namespace

void DocumentMetadata::set(std::size_t document, std::string_view text) {
  ends_.resize(document, texts_.size());
  texts_ += text;
  ends_.push_back(texts_.size());
}

std::string_view DocumentMetadata::text(std::size_t document) const noexcept {
  if (document >= ends_.size()) return {};
  const std::uint64_t begin = document == 0 ? 0 : ends_[document - 1];
  return std::string_view(texts_).substr(begin, ends_[document] - begin);
}

std::string DocumentMetadata::value(std::size_t document, std::string_view field) const {
  const std::string_view metadata = text(document);
  if (metadata.empty()) return "";
  TextPool texts;
  std::vector<FieldValue> values;
  collect_stored_field(metadata, field, texts, values);
  return values.empty() ? "" : values.front().to_json();
}

DocumentMetadata::Columns DocumentMetadata::columns(const std::vector<std::string>& fields,
                                                    std::size_t documents) const {
  // Held while texts are parsed, so that two searches with a new filter parse them once.
  const std::lock_guard lock(mutex_);
  Columns found(fields.size());
  std::vector<std::pair<std::size_t, std::shared_ptr<Column>>> missing;
  for (std::size_t f = 0; f < fields.size(); ++f) {
    if (move_to_front(columns_, [&](const auto& entry) { return entry.first == fields[f]; })) {
      found[f] = columns_.front().second;
      continue;
    }
    auto column = std::make_shared<Column>();
    column->first.reserve(documents + 1);
    column->first.push_back(0);
    missing.emplace_back(f, column);
    found[f] = std::move(column);
  }
  if (missing.empty()) return found;
  for (std::size_t d = 0; d < documents; ++d) {
    const std::string_view metadata = text(d);
    if (!metadata.empty()) {
      for (const auto& [f, column] : missing)
        collect_stored_field(metadata, fields[f], column->texts, column->values);
    }
    for (const auto& [f, column] : missing) column->first.push_back(column->values.size());
  }
  for (auto& [f, column] : missing) columns_.emplace(columns_.begin(), fields[f], column);
  if (columns_.size() > kMaxColumns) columns_.resize(kMaxColumns);
  return found;
}

std::shared_ptr<const AcceptedPositions> DocumentMetadata::accepted(
    const std::shared_ptr<const Filter>& filter, std::span<const std::uint32_t> first) const {
  {
    const std::lock_guard lock(mutex_);
    if (move_to_front(results_, [&](const auto& entry) {
          return entry.first == filter || entry.first->text() == filter->text();
        }))
      return results_.front().second;
  }
  const FilterProgram& program = filter->program();
  const std::size_t documents = first.size() - 1;
  const Columns fields = columns(program.fields, documents);
  const Accepted accepted =
      evaluate(program.root, documents, [&](const FilterNode& test, std::size_t document) {
        return test.passes(fields[test.field]->of(document));
      });
  auto made = std::make_shared<AcceptedPositions>();
  made->bits.resize((first.back() + 7) / 8);
  for (std::size_t d = 0; d < documents; ++d) {
    if (accepted[d] == 0) continue;
    made->count += first[d + 1] - first[d];
    for (std::size_t i = first[d]; i < first[d + 1]; ++i)
      made->bits[i / 8] = static_cast<std::uint8_t>(made->bits[i / 8] | 1u << (i % 8));
  }
  const std::lock_guard lock(mutex_);
  results_.emplace(results_.begin(), filter, made);
  if (results_.size() > kMaxResults) results_.resize(kMaxResults);
  return made;
}

void DocumentMetadata::write(core::ByteWriter& out, std::size_t documents) const {
  out.write_numbers(std::span<const std::uint64_t>(ends_));
  for (std::size_t d = ends_.size(); d < documents; ++d) out.write<std::uint64_t>(texts_.size());
  out.write_string(texts_);
}

bool DocumentMetadata::read(core::ByteReader& in, std::size_t documents) {
  return in.read_numbers(documents, ends_) && in.read_string(texts_) &&
         std::is_sorted(ends_.begin(), ends_.end()) &&
         (ends_.empty() ? texts_.empty() : ends_.back() == texts_.size());
}

}  // namespace collegium::index
